"""How long tests wait for what must come: time ends a hang, and never judges a busy machine."""

PATIENCE = 200.0  # seconds for any one condition; pytest ends a whole test after 300
STOPPING = 40.0  # seconds from SIGTERM to the end: four times what pinpip promises
