"""The REST Proxy's interface to Kafka."""
