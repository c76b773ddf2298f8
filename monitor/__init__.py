"""What people and programs look at: metrics, health, logs and the status page of a process."""
