"""How long verify takes over many small commits: `python -m benchmarks.verify [COMMITS]`.

The tables are made first, by the real sinks, on this disk: four partitions, 125 records of each
in a commit, one of a hundred bad. That takes several minutes for 10,000 commits.
"""

import resource
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime

import polars as pl

from pinpip.batch import KAFKA, TIMESTAMP, VALUE, Partition, Position, Records, Span
from pinpip.borders import Sink
from pinpip.clock import SystemClock
from pinpip.config import Aws
from sinks.archive import Archive
from sinks.delta import DeltaSink, Target
from sinks.parquet import ParquetSink
from sinks.store import open_store
from sinks.verify import Tables, prove, snapshots
from transforms.process import load_schema, load_transform, processor

APP = "pinpip/user/1"
PARTITIONS = 4
ROWS = 125
BAD_EVERY = 100
_START = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Make the tables, verify them, print the figures."""
    commits = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(f"{folder}/user", f"{folder}/user_quarantine", {}, KAFKA, APP)
        archive = Archive(open_store(f"{folder}/archive", Aws()), "raw", KAFKA)
        began = time.monotonic()
        fill(tables, archive, commits)
        print(f"{commits:,} commits made in {time.monotonic() - began:.0f} s")
        measure(tables, [], "tables")
        measure(tables, [archive], f"tables and {PARTITIONS * commits:,} archive objects")


def measure(tables: Tables, archives: list[Archive], what: str) -> None:
    """Time one verify of sound tables."""
    began, busy = time.monotonic(), time.process_time()
    report = prove(*snapshots(tables), archives)
    took, busy = time.monotonic() - began, time.process_time() - busy
    held = sum(tally.clean + tally.quarantined for tally in report.tallies)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if report.findings:
        raise SystemExit(f"{len(report.findings)} differences: {report.findings[0]}")
    print(f"{what}: {held:,} rows in {took:.1f} s ({busy:.1f} s of CPU), peak memory {most:,} MB")


def fill(tables: Tables, archive: Archive, commits: int) -> None:
    """What a consumer writes in so many batches."""
    schema = load_schema("transforms.user:SCHEMA")
    transform = load_transform("transforms.user:clean")
    process = processor(schema, transform, KAFKA, keep_values=True)
    first = process(_records(0))
    clean = Target(tables.clean, {}, first.clean.schema, KAFKA, APP)
    bad = Target(tables.quarantine, {}, first.rejected.schema, KAFKA, APP, "rejected")
    clock = SystemClock()
    sinks: list[Sink] = [
        *(DeltaSink(t.stage, t, open_store(t.uri, Aws()), clock) for t in (clean, bad)),
        ParquetSink(archive.store, "raw", KAFKA, "archive"),
    ]
    with ExitStack() as stack:
        for sink in sinks:
            stack.enter_context(closing(sink))
            sink.positions([_partition(n) for n in range(PARTITIONS)])
        for batch in (process(_records(n)) for n in range(commits)):
            for sink in sinks:
                sink.write(batch)


def _records(nth: int) -> Records:
    """The nth batch."""
    offset = pl.int_range(nth * ROWS, (nth + 1) * ROWS, dtype=pl.Int64, eager=True).alias("_offset")
    value = pl.concat_str(
        pl.lit('{"ind": '),
        "_offset",
        pl.lit(', "first_name": "No", "last_name": "One", "age": 30}'),
    )
    good = pl.col("_offset") % BAD_EVERY != 0
    rows = pl.DataFrame([offset]).select(
        pl.lit("demo.user").alias("_topic"),
        "_offset",
        pl.format("key {}", "_offset").alias("_key"),
        pl.lit(_START).cast(TIMESTAMP).alias("_timestamp"),
        pl.when(good).then(value).otherwise(pl.lit("no JSON")).cast(pl.Binary).alias(VALUE),
    )
    columns = [*KAFKA.metadata, VALUE]
    parts = [
        rows.with_columns(pl.lit(n, pl.Int32).alias("_partition")).select(columns)
        for n in range(PARTITIONS)
    ]
    start = Position(nth * ROWS) if nth else None
    span = Span(start, Position((nth + 1) * ROWS), ROWS)
    return Records(pl.concat(parts), {_partition(n): span for n in range(PARTITIONS)}, KAFKA)


def _partition(number: int) -> Partition:
    return Partition("demo.user", str(number))


if __name__ == "__main__":
    main()
