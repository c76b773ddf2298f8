"""The Delta sink and the log that it writes."""
