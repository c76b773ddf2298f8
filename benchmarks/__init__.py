"""Measurements: `make bench`, `python -m benchmarks --help`; docs/benchmarks.md says more."""
