"""Measure a table of many small commits before and after upkeep: `python -m benchmarks.upkeep`.

Batches of rows with random keys are committed to a table on this disk by the real sink. Each
figure comes from a new process: queries are the median of five, with the table opened each time.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import polars as pl
from deltalake import DeltaTable

from core.batch import KAFKA, RESCUED, TIMESTAMP, Batch, Partition, Position, Span
from core.clock import SystemClock
from sinks.delta.compaction import Goal, SortedTable, compact_all
from sinks.delta.sink import DeltaSink
from sinks.delta.target import DeltaTarget
from sinks.storage.store import FolderStore

ROWS = 200  # of a commit
KEYS = 1_000_000
GOAL = Goal(16 * 2**20, 512 * 2**20)
TIMES = 5
PARTITION = Partition("demo.pin", "0")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pl.Schema(
    {"ind": pl.Int64(), "title": pl.String(), "description": pl.String(), "category": pl.String()}
    | dict(KAFKA.metadata)
    | {RESCUED: pl.String()}
)
MB = 1_000_000


def main() -> None:
    """Fill a table, and print its figures before and after upkeep."""
    if sys.argv[1:2] == ["--step"]:
        print(json.dumps(STEPS[sys.argv[2]](sys.argv[3])))
        return
    commits = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    with tempfile.TemporaryDirectory() as folder:
        fill(folder, commits)
        print({"commits": commits, "rows": commits * ROWS} | stepped("look", folder))
        print(stepped("merge", folder))
        print(stepped("look", folder))


def stepped(step: str, folder: str) -> dict[str, float]:
    """Take a step in a new process."""
    command = [sys.executable, "-m", "benchmarks.upkeep", "--step", step, folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def target(folder: str) -> DeltaTarget:
    """Return the table of the measurement."""
    return DeltaTarget(folder, dict, SCHEMA, KAFKA, "pinpip/pin/1")


def fill(folder: str, commits: int) -> None:
    """Commit so many batches of random keys, one second apart by the broker's time."""
    with closing(
        DeltaSink("pin", target(folder), FolderStore(Path(folder)), SystemClock())
    ) as sink:
        sink.positions([PARTITION])
        for nth in range(commits):
            sink.write(batch(nth))


def batch(nth: int) -> Batch:
    """Return the nth batch."""
    keys = pl.int_range(KEYS, eager=True).sample(ROWS, seed=nth)
    at, none = BEGAN + timedelta(seconds=nth), pl.lit(None, pl.String)
    rows = pl.DataFrame({"ind": keys}).select(
        "ind",
        title=pl.format("Title of pin {} by {}", "ind", pl.col("ind").hash(nth)),
        description=pl.format("{}{}{}", *[pl.col("ind").hash(seed) for seed in (1, 2, 3)]),
        category=pl.col("ind") % 20,
        _topic=pl.lit(PARTITION.source),
        _partition=pl.lit(0, pl.Int32),
        _offset=pl.int_range(nth * ROWS, (nth + 1) * ROWS, dtype=pl.Int64),
        _key=none,
        _timestamp=pl.lit(at, TIMESTAMP),
        _rescued=none,
    )
    start = Position(nth * ROWS) if nth else None
    spans = {PARTITION: Span(start, Position((nth + 1) * ROWS), ROWS)}
    clean = rows.cast(dict(SCHEMA)).select(SCHEMA.names())  # type: ignore[arg-type]
    return Batch(clean, clean, clean.clear(), spans, KAFKA)


def merge(folder: str) -> dict[str, float]:
    """Merge the small files; return the seconds, the rows a second and the peak memory."""
    place = SortedTable(target(folder), FolderStore(Path(folder)), ["ind", *KAFKA.identity])
    began = time.perf_counter()
    done = list(compact_all(place, GOAL, SystemClock()))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    rows = sum(one.rows for one in done)
    DeltaTable(folder).create_checkpoint()
    found = {"entries": len(done), "rewritten rows": rows, "merge s": seconds}
    return found | {"rows a second": rows / seconds, "peak MB": peak}


def look(folder: str) -> dict[str, float]:
    """Return the number and size of the files, and the times of three queries in ms."""
    table, log = DeltaTable(folder), Path(folder, "_delta_log")
    sizes = pl.DataFrame(table.get_add_actions())["size_bytes"]
    since = sum(p.stat().st_size for p in log.glob("*.json"))
    day = BEGAN + timedelta(seconds=100)

    def where(wanted: pl.Expr) -> Callable[[], object]:
        return lambda: pl.scan_delta(folder).filter(wanted).collect()

    return {
        "files": len(sizes),
        "table MB": float(sizes.sum()) / MB,
        "log MB": since / MB,
        "by key ms": timed(where(pl.col("ind") == KEYS // 2)),
        "by time ms": timed(where(pl.col("_timestamp").is_between(BEGAN, day))),
        "all ms": timed(
            lambda: pl.scan_delta(folder).select(pl.col("category").n_unique()).collect()
        ),
    }


def timed(act: Callable[[], object]) -> float:
    """Return the median of some runs in ms."""
    found = []
    for _ in range(TIMES):
        began = time.perf_counter()
        act()
        found.append(1000 * (time.perf_counter() - began))
    return median(found)


STEPS = {"look": look, "merge": merge}

if __name__ == "__main__":
    main()
