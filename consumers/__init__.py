"""Readers of Kafka and Kinesis, and the loop that carries what they read to the sinks."""
