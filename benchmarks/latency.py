"""Measure freshness: from a record's broker timestamp to the commit that makes it visible."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import polars as pl

from benchmarks import commits, config, measure
from benchmarks.contest import BenchmarkSetup
from benchmarks.measure import Process, Usage
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import create, pins, steady
from pinpip.cli.shared import progress_bar

PARTITIONS = 4
WARM_UP_S = 3.0  # of load, not counted: the consumer joins the group
COMMIT_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Sample:
    """The consumer's usage so far, at a time of the wall clock."""

    at: float
    usage: Usage


def latency(
    setup: BenchmarkSetup, rates: Sequence[int], *, seconds: float, max_wait: float | None
) -> BenchmarkResult:
    """Measure each rate for `seconds`, with a new consumer and this `batching.max_wait`."""
    rows = [
        at_rate(setup.bootstrap, setup.folder / f"rate{rate}", rate, seconds, max_wait)
        for rate in rates
    ]
    return result("latency", {"seconds": seconds, "max_wait": max_wait or "default"}, rows)


def at_rate(
    bootstrap: str, folder: Path, rate: int, seconds: float, max_wait: float | None
) -> dict[str, object]:
    """Measure one rate: percentiles of the rows' ages at commit, and the consumer's memory."""
    topic = folder.name
    pins()  # cached before the measurement
    create(bootstrap, topic, PARTITIONS, message_timestamp_type="LogAppendTime")
    batching = {} if max_wait is None else {"max_wait": max_wait}
    path = config.of_topic(folder, bootstrap, topic, batching=batching)
    log = commits.CommitFollower(commits.local(folder / "pin"))
    with measure.pinpip(path, "consume", "pin") as consumer:
        samples, sent = _load(bootstrap, topic, rate, WARM_UP_S + seconds, consumer)
        _await_rows(log, sent, consumer, folder)
    began = samples[0].at + WARM_UP_S
    counted = [sample for sample in samples if sample.at >= began]
    took, busy = (counted[-1].at - counted[0].at, counted[-1].usage.cpu - counted[0].usage.cpu)
    return {
        "rate": rate,
        **_ages(log, folder / "pin", began),
        **_memory(counted),
        "CPU %": 100 * busy / took,
        "commits/s": sum(counted[0].at < c.at <= counted[-1].at for c in log.commits) / took,
    }


def _load(
    bootstrap: str, topic: str, rate: int, seconds: float, consumer: Process
) -> tuple[list[Sample], int]:
    """Produce at the rate, sampling the consumer each second; return samples and records sent."""
    samples, sent = [_sample(consumer)], 0
    with progress_bar(quiet=False) as bar:
        shown = bar.add_task(f"{rate} records/s", total=int(rate * seconds))
        going = int(rate * seconds).__gt__
        for sent in steady(bootstrap, topic, PARTITIONS, rate, going):
            if time.time() >= samples[-1].at + 1:
                samples.append(_sample(consumer))
                bar.update(shown, completed=sent)
    return samples, sent


def _sample(consumer: Process) -> Sample:
    return Sample(time.time(), measure.usage(consumer.pid))


def _await_rows(log: commits.CommitFollower, rows: int, consumer: Process, folder: Path) -> None:
    deadline = time.monotonic() + COMMIT_TIMEOUT_S
    while log.advance() < rows:
        measure.refuse_dead([consumer], folder / "log")
        if time.monotonic() > deadline:
            raise SystemExit(f"{log.rows} of {rows} rows were committed: {folder / 'log'}")
        time.sleep(0.05)


def _ages(log: commits.CommitFollower, table: Path, since: float) -> dict[str, object]:
    """Return age percentiles in seconds of every row with a broker timestamp from `since` on."""
    stamp = pl.col("_timestamp").dt.epoch("ms") / 1000
    ages = pl.concat(
        pl.read_parquet(table / file, columns=["_timestamp"])
        .filter(stamp >= since)
        .select(age=commit.at - stamp)
        for commit in log.commits
        for file in commit.files
    )["age"]
    named = {"p50 s": 0.5, "p95 s": 0.95, "p99 s": 0.99}
    found = {name: ages.quantile(share, "nearest") for name, share in named.items()}
    return {"rows": len(ages), **found, "max s": ages.max()}


def _memory(samples: Sequence[Sample]) -> dict[str, object]:
    """Return resident memory in MB: first and last tenth of the time, peak, and the series."""
    series = [sample.usage.rss for sample in samples]
    tenth = max(len(series) // 10, 1)
    return {
        "RSS first MB": median(series[:tenth]),
        "RSS last MB": median(series[-tenth:]),
        "RSS peak MB": samples[-1].usage.peak,
        "RSS MB": [round(size) for size in series[:: max(len(series) // 60, 1)]],
    }
