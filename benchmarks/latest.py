"""Measure the follower of the latest rows: `python -m benchmarks.latest [KEYS]`.

Rows of about 200 bytes are committed to a table on this disk, 100,000 at a time. Then the latest
table is built, and single steps are timed, each by a new process: of few rows and of many, whose
keys are drawn at random or new.
"""

import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from core.batch import KAFKA, RESCUED, TIMESTAMP, Batch, Partition, Position, Span
from core.clock import SystemClock
from sinks.delta.sink import DeltaSink
from sinks.delta.target import DeltaTarget, Tables
from sinks.latest.follower import Follower
from sinks.latest.view import View
from sinks.storage.store import FolderStore

COMMIT = 100_000  # rows
STEPS = [(1_000, "random"), (100_000, "random"), (100_000, "new"), (400_000, "random")]
PARTITION = Partition("demo.pin", "0")
SCHEMA = pl.Schema(
    {"ind": pl.Int64(), "title": pl.String(), "description": pl.String(), "category": pl.String()}
    | dict(KAFKA.metadata)
    | {RESCUED: pl.String()}
)


def tables_in(folder: str) -> Tables:
    """Return the tables of the measurement."""
    return Tables(f"{folder}/pin", f"{folder}/none", dict, KAFKA, "pinpip/pin/1")


def main() -> None:
    """Fill the table, build the latest one, and print the figures of each step."""
    if sys.argv[1:2] == ["--step"]:
        step(sys.argv[2])
        return
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        written = append(folder, 0, pl.int_range(keys, eager=True).shuffle(1))
        stepped(folder, f"built from {keys:,} rows of as many keys")
        for count, kind in STEPS:
            drawn = pl.int_range(keys, eager=True).sample(count, with_replacement=True, seed=count)
            fresh = pl.int_range(keys, keys + count, eager=True)
            written = append(folder, written, drawn if kind == "random" else fresh)
            stepped(folder, f"{count:,} rows, keys {kind}")


def stepped(folder: str, what: str) -> None:
    """Take steps in a new process until nothing is left."""
    command = [sys.executable, "-m", "benchmarks.latest", "--step", folder]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"{what}: {said}", end="", flush=True)


def step(folder: str) -> None:
    """Follow, and print the time and the memory."""
    uri = f"{folder}/latest"
    follower = Follower(
        View("ind", "_timestamp", KAFKA),
        tables_in(folder),
        uri,
        FolderStore(Path(uri)),
        SystemClock(),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    began, busy, files, steps = time.monotonic(), time.process_time(), 0, 0
    while True:
        done = follower.step()
        files, steps = files + done.files, steps + 1
        if not done.behind:
            break
    took, busy = time.monotonic() - began, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    size = sum(path.stat().st_size for path in Path(folder, "latest").rglob("*.parquet")) >> 20
    print(
        f"{took:.2f} s ({busy:.2f} s of CPU) in {steps} steps, {files} files written, peak memory "
        f"{peak:,} MB ({before} MB before), {size:,} MB on disk"
    )


def append(folder: str, first: int, keys: pl.Series) -> int:
    """Commit one row per key, as a consumer does; return the next offset."""
    target = DeltaTarget(f"{folder}/pin", dict, SCHEMA, KAFKA, "pinpip/pin/1")
    with closing(DeltaSink("pin", target, FolderStore(Path(folder, "pin")), SystemClock())) as sink:
        sink.positions([PARTITION])
        for part in keys.to_frame("ind").iter_slices(COMMIT):
            sink.write(_batch(first, part["ind"]))
            first += part.height
    return first


def _batch(first: int, keys: pl.Series) -> Batch:
    offsets = pl.int_range(first, first + len(keys), eager=True)
    text = pl.col("_offset").hash(1).cast(pl.String)
    rows = pl.DataFrame({"ind": keys, "_offset": offsets}).select(
        "ind",
        title=pl.format("title {} of {}", text, "ind"),
        description=pl.format("a description of some length: {} {} {}", text, text.reverse(), text),
        category=pl.format("category {}", pl.col("ind") % 13),
        _topic=pl.lit("demo.pin"),
        _partition=pl.lit(0, pl.Int32),
        _offset="_offset",
        _key=pl.col("ind").cast(pl.String),
        _timestamp=pl.lit(datetime(2026, 1, 1, tzinfo=UTC)).cast(TIMESTAMP)
        + pl.duration(microseconds="_offset"),
        _rescued=pl.lit(None, pl.String),
    )
    span = Span(Position(first) if first else None, Position(first + len(keys)), len(keys))
    metadata = rows.select(list(KAFKA.metadata))
    return Batch(metadata, rows.select(SCHEMA.names()), metadata.clear(), {PARTITION: span}, KAFKA)


if __name__ == "__main__":
    main()
