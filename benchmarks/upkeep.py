"""Measure a table of many small commits before and after one turn of `pinpip.maintain`.

Batches of rows with random keys are committed to a table on this disk by the real sink. Each
figure comes from a new process: queries are the median of five, with the table opened each time.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import polars as pl
from deltalake import DeltaTable
from pydantic import ByteSize

from benchmarks.results import BenchmarkResult, result
from core.batch import KAFKA, RESCUED, TIMESTAMP, Batch, Partition, Position, Span
from core.clock import SystemClock
from core.sections import Maintain
from pinpip.maintain import Keeper
from pinpip.upkept import Upkeep
from sinks.delta.compaction import SortedTable
from sinks.delta.sink import DeltaSink
from sinks.delta.target import DeltaTarget, Tables
from sinks.storage.store import FolderStore

ROWS = 200  # of a commit
KEYS = 1_000_000
POLICY = Maintain(target=ByteSize(16 * 2**20))
TIMES = 5
PARTITION = Partition("demo.pin", "0")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pl.Schema(
    {"ind": pl.Int64(), "title": pl.String(), "description": pl.String(), "category": pl.String()}
    | dict(KAFKA.metadata)
    | {RESCUED: pl.String()}
)
MB = 1_000_000


def upkeep(folder: Path, *, commits: int) -> BenchmarkResult:
    """Fill a table, and measure it before and after."""
    table = str(folder / "pin")
    fill(table, commits)
    before = {"table": "before", **stepped("look", table)}
    done = stepped("keep", table)
    after = {"table": "after", **stepped("look", table)}
    return result("upkeep", {"commits": commits, "rows": commits * ROWS, **done}, [before, after])


def main() -> None:
    """Take one step in this process; arguments: its name and the table."""
    print(json.dumps(STEPS[sys.argv[1]](sys.argv[2])))


def stepped(step: str, folder: str) -> dict[str, float]:
    """Take a step in a new process."""
    command = [sys.executable, "-m", "benchmarks.upkeep", step, folder]
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


def keeper(store: FolderStore, folder: str) -> Keeper:
    """Return what maintains the table."""
    own = target(folder)
    tables = Tables(folder, f"{folder}_none", dict, KAFKA, own.app)
    place = SortedTable(own, store, ["ind", *KAFKA.identity])
    return Keeper(place, tables, POLICY, SystemClock(), Upkeep("pin", folder, None))


def keep(folder: str) -> dict[str, float]:
    """Maintain the table; return the seconds, the rows a second and the peak memory."""
    began = time.perf_counter()
    done = keeper(FolderStore(Path(folder)), folder).done(lambda _: None)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    found = {"entries": done.commits, "rewritten rows": done.rows, "turn s": seconds}
    return found | {"rows a second": done.rows / seconds, "peak MB": peak}


def look(folder: str) -> dict[str, float]:
    """Return the number and size of the files, and the times of three queries in ms."""
    sizes = pl.DataFrame(DeltaTable(folder).get_add_actions())["size_bytes"]
    day = BEGAN + timedelta(seconds=100)

    def where(wanted: pl.Expr) -> Callable[[], object]:
        return lambda: pl.scan_delta(folder).filter(wanted).collect()

    return {
        "files": len(sizes),
        "table MB": float(sizes.sum()) / MB,
        "log MB": sum(p.stat().st_size for p in Path(folder, "_delta_log").iterdir()) / MB,
        "log to open MB": to_open(folder) / MB,
        "by key ms": timed(where(pl.col("ind") == KEYS // 2)),
        "by time ms": timed(where(pl.col("_timestamp").is_between(BEGAN, day))),
        "all ms": timed(
            lambda: pl.scan_delta(folder).select(pl.col("category").n_unique()).collect()
        ),
    }


def to_open(folder: str) -> int:
    """Return the bytes of the log that opening the table reads: a checkpoint, and what is later."""
    log = Path(folder, "_delta_log")
    files = [(int(p.name.partition(".")[0]), p) for p in log.glob("[0-9]*")]
    base = max((n for n, p in files if p.suffix == ".parquet"), default=-1)
    read = [p for n, p in files if n > base or (n == base and p.suffix == ".parquet")]
    return sum(p.stat().st_size for p in read)


def count(folder: str) -> dict[str, float]:
    """Return the number of the table's files."""
    return {"files": len(DeltaTable(folder).file_uris())}


def timed(act: Callable[[], object]) -> float:
    """Return the median of some runs in ms."""
    found = []
    for _ in range(TIMES):
        began = time.perf_counter()
        act()
        found.append(1000 * (time.perf_counter() - began))
    return median(found)


STEPS = {"look": look, "keep": keep, "count": count}

if __name__ == "__main__":
    main()
