"""Streams of Kinesis as sources."""
