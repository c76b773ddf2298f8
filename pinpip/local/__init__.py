"""The embedded stack: Kafka and AWS on this machine."""
