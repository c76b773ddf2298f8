"""Latencies are those of a bucket, and the same for the same seed."""

import random
import statistics

from chaos.latency import P99, Latency


def drawn(seed: int, times: int) -> list[float]:
    latency = Latency(0.04, random.Random(seed))
    return [sum(latency.draw()) for _ in range(times)]


def test_the_median_is_the_one_that_was_asked_for_and_the_tail_is_long() -> None:
    found = sorted(drawn(1, 20_000))
    assert 0.038 < statistics.median(found) < 0.042
    assert 0.8 < found[int(len(found) * 0.99)] / (0.04 * P99) < 1.2


def test_the_bucket_acts_early_in_some_requests_and_late_in_others() -> None:
    latency = Latency(0.04, random.Random(1))
    pairs = [latency.draw() for _ in range(1000)]
    shares = sorted(before / (before + after) for before, after in pairs)
    assert shares[0] < 0.1
    assert shares[-1] > 0.9


def test_the_same_seed_draws_the_same_latencies() -> None:
    assert drawn(7, 50) == drawn(7, 50)
    assert drawn(7, 50) != drawn(8, 50)


def test_without_latency_nothing_waits() -> None:
    assert Latency(0.0).draw() == (0.0, 0.0)
