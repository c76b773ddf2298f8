"""The records that a pipeline rejected: found, judged again, and put where they belong."""
