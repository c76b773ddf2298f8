"""`pinpip ui`: the status page of all pipelines, from the tables and sources alone."""
