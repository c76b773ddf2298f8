"""The HTTP front: the Kafka REST Proxy's produce route and the Kinesis routes."""
