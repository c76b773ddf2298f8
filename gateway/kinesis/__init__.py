"""The API Gateway's interface to Kinesis."""
