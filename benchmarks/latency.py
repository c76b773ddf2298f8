"""Measure freshness: from a record's broker timestamp to the commit that makes it visible."""

import time
from collections.abc import Mapping, Sequence
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
    batching = {} if max_wait is None else {"max_wait": max_wait}
    path = config.of_topic(folder, bootstrap, folder.name, batching=batching)
    tables = {folder.name: commits.local_table(folder / "pin")}
    return observed(bootstrap, path, tables, rate, seconds).row


@dataclass(frozen=True)
class Observation:
    """What a steady load showed: figures, and its counted time by the wall clock."""

    row: dict[str, object]
    begin: float
    end: float


def observed(
    bootstrap: str,
    path: Path,
    tables: Mapping[str, commits.ObservedTable],
    rate: int,
    seconds: float,
    warm_up: float = WARM_UP_S,
) -> Observation:
    """Run every pipeline of a configuration in one process, under a load of `rate` in all.

    `tables`: by topic. The first `warm_up` seconds are not counted.
    """
    pins()  # cached before the measurement
    for topic in tables:
        create(bootstrap, topic, PARTITIONS, message_timestamp_type="LogAppendTime")
    logs = {topic: commits.CommitFollower(table.read) for topic, table in tables.items()}
    with measure.pinpip(path, "consume") as consumer:
        samples, sent = _load(bootstrap, list(tables), rate, warm_up + seconds, consumer)
        await_rows(list(logs.values()), sent, consumer, path.parent)
    began = samples[0].at + warm_up
    counted = [sample for sample in samples if sample.at >= began]
    begin, end = counted[0], counted[-1]
    took, busy = end.at - begin.at, end.usage.cpu - begin.usage.cpu
    ages = pl.concat(ages_of(logs[topic], table, began) for topic, table in tables.items())
    number = sum(begin.at < c.at <= end.at for log in logs.values() for c in log.commits)
    own = {"CPU %": 100 * busy / took, "commits/s": number / took}
    row = {"rate": rate, **percentiles(ages), **memory(counted), **own}
    return Observation(row, begin.at, end.at)


def _load(
    bootstrap: str, topics: Sequence[str], rate: int, seconds: float, consumer: Process
) -> tuple[list[Sample], int]:
    """Produce at the rate, sampling the consumer each second; return samples and records sent."""
    samples, sent = [sample(consumer)], 0
    with progress_bar(quiet=False) as bar:
        shown = bar.add_task(f"{rate} records/s", total=int(rate * seconds))
        going = int(rate * seconds).__gt__
        for sent in steady(bootstrap, topics, PARTITIONS, rate, going):
            if time.time() >= samples[-1].at + 1:
                samples.append(sample(consumer))
                bar.update(shown, completed=sent)
    return samples, sent


def sample(consumer: Process) -> Sample:
    """Return the consumer's usage now."""
    return Sample(time.time(), measure.usage(consumer.pid))


def await_rows(
    logs: Sequence[commits.CommitFollower], rows: int, consumer: Process, folder: Path
) -> None:
    """Wait until all rows are committed; raises SystemExit when that takes too long."""
    deadline = time.monotonic() + COMMIT_TIMEOUT_S
    while (committed := sum(log.advance() for log in logs)) < rows:
        measure.refuse_dead([consumer], folder / "log")
        if time.monotonic() > deadline:
            raise SystemExit(f"{committed} of {rows} rows were committed: {folder / 'log'}")
        time.sleep(0.05)


def ages_of(log: commits.CommitFollower, table: commits.ObservedTable, since: float) -> pl.Series:
    """Return the age in seconds of every row with a broker timestamp from `since` on."""
    stamp = pl.col("_timestamp").dt.epoch("ms") / 1000
    return pl.concat(
        pl.read_parquet(table.open(file), columns=["_timestamp"])
        .filter(stamp >= since)
        .select(age=commit.at - stamp)
        for commit in log.commits
        for file in commit.files
    )["age"]


def percentiles(ages: pl.Series) -> dict[str, object]:
    """Return percentiles of ages in seconds."""
    named = {"p50 s": 0.5, "p95 s": 0.95, "p99 s": 0.99}
    found = {name: ages.quantile(share, "nearest") for name, share in named.items()}
    return {"rows": len(ages), **found, "max s": ages.max()}


def memory(samples: Sequence[Sample]) -> dict[str, object]:
    """Return resident memory in MB: first and last tenth of the time, peak, and the series."""
    series = [sample.usage.rss for sample in samples]
    tenth = max(len(series) // 10, 1)
    return {
        "RSS first MB": median(series[:tenth]),
        "RSS last MB": median(series[-tenth:]),
        "RSS peak MB": samples[-1].usage.peak,
        "RSS MB": [round(size) for size in series[:: max(len(series) // 60, 1)]],
    }
