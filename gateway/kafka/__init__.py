"""The Kafka routes: those of the Kafka REST Proxy v2."""
