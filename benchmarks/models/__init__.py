"""Small servers that answer as AWS does, with its latencies, limits and throttling.

Each runs as a separate process on one core's fraction, keeps everything in memory and checks no
signatures. `/-/…` are routes of the benchmark itself: without delay, and not counted.
"""
