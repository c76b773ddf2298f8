"""Faults on purpose: seeded, counted, and never needed to run the product."""
