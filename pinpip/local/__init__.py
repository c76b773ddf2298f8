"""The embedded stack: Kafka and AWS on this machine, for demonstrations and tests."""
