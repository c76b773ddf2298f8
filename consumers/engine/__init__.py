"""The loop, and what it asks of its sinks."""
