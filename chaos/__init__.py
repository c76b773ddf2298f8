"""Chaos testing: seeded faults, failpoints, the S3 fault proxy. The product runs without it."""
