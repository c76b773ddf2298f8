"""Measure the peak memory of `pinpip consume` by record size, partitions and pipelines."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from benchmarks import commits, config, measure
from benchmarks.contest import BenchmarkSetup
from benchmarks.measure import Process
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import create, put, sized
from pinpip import configfile

FACTOR = 1.5  # of batching.memory, above the base
MIDDLE = {"partitions": 4, "pipelines": 1}
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000, 5_000_000)
PARTITIONS = (1, 64, 256)
PIPELINES = (6, 20)
LARGE = 1_000_000
PATIENCE_S = 300.0
RESTS_S = 3.0  # after an empty topic was joined
_MB = 1_000_000
_KEPT = 100_000  # records on a topic at most: small ones are many


@dataclass(frozen=True)
class Case:
    """One point of the grid: all pipelines read the same topic into tables of their own."""

    size: int
    partitions: int = 4
    pipelines: int = 1

    @property
    def name(self) -> str:
        """Names the topic and the folder."""
        return f"memory{self.size}x{self.partitions}x{self.pipelines}"


def grid() -> list[Case]:
    """Return the cases: sizes, then partitions and pipelines with large and small records."""
    return [
        *(Case(size) for size in SIZES),
        *(Case(size, partitions=n) for n in PARTITIONS for size in (LARGE, SIZES[1])),
        *(Case(size, pipelines=n) for n in PIPELINES for size in (LARGE, SIZES[1])),
    ]


def memory(
    setup: BenchmarkSetup, cases: Sequence[Case], *, megabytes: int, budget: str
) -> BenchmarkResult:
    """Measure each case with `megabytes` of records, and beside an empty topic."""
    rows = [_row(setup, case, megabytes, budget) for case in cases]
    return result("memory", {"megabytes": megabytes, "batching.memory": budget}, rows)


def _row(setup: BenchmarkSetup, case: Case, megabytes: int, budget: str) -> dict[str, object]:
    topic = f"{case.name}-{uuid4().hex[:8]}"
    empty = f"{topic}-empty"
    records = max(case.partitions, megabytes * _MB // case.size // case.pipelines)
    records = min(_KEPT, records)
    for name in (topic, empty):
        create(setup.bootstrap, name, case.partitions)
    put(setup.bootstrap, topic, case.partitions, records, sized(case.size))
    base = _peak(setup, case, empty, 0, budget)
    peak = _peak(setup, case, topic, records, budget)
    limit = int(configfile.load(setup.folder / topic / "config.yaml", {}).batching.memory) / 2**20
    for name in (topic, empty):
        shutil.rmtree(setup.folder / name)
    return {
        "bytes": f"{case.size:,}",
        "partitions": case.partitions,
        "pipelines": case.pipelines,
        "records": records,
        "base MiB": base,
        "peak MiB": peak,
        "of memory": (peak - base) / limit,
        "kept": peak <= base + FACTOR * limit,
    }


def _peak(setup: BenchmarkSetup, case: Case, topic: str, records: int, budget: str) -> float:
    """Return the peak of a process that reads all `records` in each of its pipelines, in MiB."""
    path = config.of_topics(
        setup.folder / topic,
        setup.bootstrap,
        {f"pin{n}": topic for n in range(case.pipelines)},
        root=str(setup.folder / topic),
        batching={"memory": budget},
    )
    logs = [
        commits.CommitFollower(commits.local(path.parent / f"pin{n}"))
        for n in range(case.pipelines)
    ]
    with measure.pinpip(path, "consume") as process:
        _await(logs, records, process, path.parent)
        if not records:
            time.sleep(RESTS_S)
        return measure.usage(process.pid).peak


def _await(
    logs: Sequence[commits.CommitFollower], records: int, process: Process, folder: Path
) -> None:
    """Wait until each table holds all records, or is there when there are none."""
    deadline = time.monotonic() + PATIENCE_S
    while min(log.advance() if log.commits or log.advance() else -1 for log in logs) < records:
        measure.refuse_dead([process], folder / "log")
        if time.monotonic() > deadline:
            raise SystemExit(f"{[log.rows for log in logs]} of {records}: {folder / 'log'}")
        time.sleep(0.05)
