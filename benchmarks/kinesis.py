"""Measure reading Kinesis, modelled with its limits and latencies, by the number of shards."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks import commits, config, latency, measure
from benchmarks.commits import CommitFollower
from benchmarks.measure import Process
from benchmarks.models.journal import Entry
from benchmarks.models.process import Model, running
from benchmarks.models.stream import BYTES_PER_S, Layout
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import pins

STREAM = "pin"
RATE = 1000  # records per second and shard that AWS takes
WARM_UP_S = 5.0  # after the first commit: what came during the start is read by then
_BROKER = "none.invalid:9092"


def kinesis(
    folder: Path, *, shards: Sequence[int], records: int, seconds: float
) -> BenchmarkResult:
    """Measure a backlog of `records` in each shard, then a steady load, for each number."""
    with running("kinesis", folder) as model:
        rows = [
            _row(model, folder / f"shards{number}", number, records, seconds) for number in shards
        ]
    return result("kinesis", {"records": records, "seconds": seconds, "rate": RATE}, rows)


def _row(
    model: Model, folder: Path, shards: int, records: int, seconds: float
) -> dict[str, object]:
    mean = sum(map(len, pins())) / len(pins())
    limit = shards * BYTES_PER_S / mean
    drained = _backlog(model, folder / "backlog", shards, records, limit)
    fresh = _steady(model, folder / "steady", shards, seconds)
    return {"shards": shards, "limit/s": round(limit), **drained, **fresh}


def _started(model: Model, folder: Path, layout: Layout) -> tuple[Path, commits.ObservedTable]:
    model.request("POST", "/-/stream", layout.model_dump_json())
    source = {"stream": STREAM, "start": "trim_horizon"}
    path = config.write(folder, _BROKER, source, aws=model.section)
    return path, commits.local_table(folder / "pin")


def _backlog(
    model: Model, folder: Path, shards: int, records: int, limit: float
) -> dict[str, object]:
    """Read what is there; rates in records per second."""
    layout = Layout(name=STREAM, shards=shards, records=records)
    path, table = _started(model, folder, layout)
    log, began = CommitFollower(table.read), time.time()
    with measure.pinpip(path, "consume") as consumer:
        _await(log, 1, consumer, folder)
        first = latency.sample(consumer)
        _await(log, shards * records, consumer, folder)
        last = latency.sample(consumer)
    shutil.rmtree(folder)
    begin, end = log.first(), log.last()
    if begin is None or end is None or begin is end:
        raise SystemExit("there was one commit only: give it more --records")
    rate = (log.rows - begin.rows) / (end.at - begin.at)
    refused, calls = _calls(model.journal(), begin.at, end.at)
    return {
        "steady/s": round(rate),
        "of limit": rate / limit,
        "whole/s": round(log.rows / (end.at - began)),
        "calls/s a shard": calls / (end.at - begin.at) / shards,
        "refused": refused / calls if calls else None,
        "cores": (last.usage.cpu - first.usage.cpu) / (last.at - first.at),
        "CPU s/M": last.usage.cpu / log.rows * 1e6,
        "peak MB": last.usage.peak,
    }


def _calls(entries: Sequence[Entry], begin: float, end: float) -> tuple[int, int]:
    """Return how many calls for records were refused, and how many there were."""
    own = [e for e in entries if e.kind == "GetRecords" and begin < e.at <= end]
    statuses = Counter(entry.status for entry in own)
    return len(own) - statuses[200], len(own)


def _await(log: CommitFollower, rows: int, consumer: Process, folder: Path) -> None:
    """Wait until so many rows are committed; raises SystemExit without progress."""
    while log.rows < rows:
        latency.await_rows([log], log.rows + 1, consumer, folder)


def _steady(model: Model, folder: Path, shards: int, seconds: float) -> dict[str, object]:
    """Return the ages of rows under a steady load of RATE a shard."""
    layout = Layout(name=STREAM, shards=shards, rate=RATE)
    path, table = _started(model, folder, layout)
    log = CommitFollower(table.read)
    with measure.pinpip(path, "consume") as consumer:
        _await(log, 1, consumer, folder)
        began = time.time() + WARM_UP_S
        while time.time() < began + seconds:
            log.advance()
            measure.refuse_dead([consumer], folder / "log")
            time.sleep(0.1)
        _, body, _ = model.request("POST", "/-/stop")
        latency.await_rows([log], json.loads(body)["records"], consumer, folder)
    ages = latency.ages_of(log, table, began)
    shutil.rmtree(folder)
    return {f"fresh {name}": value for name, value in latency.percentiles(ages).items()}
