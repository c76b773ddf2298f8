"""Faults on purpose: seeded schedules, crash points inside a consumer, and the proof afterwards."""
