"""The Kinesis routes: those of an API Gateway with a Kinesis integration."""
