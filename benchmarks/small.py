"""Make small batches of users as a consumer does, for tables with many commits."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from core.batch import KAFKA, TIMESTAMP, VALUE, Batch, Partition, Position, Records, Span
from core.clock import SystemClock
from sinks.delta.sink import DeltaSink
from sinks.delta.target import DeltaTarget, Tables
from sinks.storage.protocol import Store
from sinks.storage.store import FolderStore
from transforms.load import load_schema, load_transform
from transforms.process import processor

PARTITIONS = 4
ROWS = 125
BAD_EVERY = 100
_START = datetime(2026, 1, 1, tzinfo=UTC)
_process = processor(
    load_schema("transforms.user:SCHEMA"),
    load_transform("transforms.user:clean"),
    KAFKA,
    keep_values=True,
)


def partitions() -> list[Partition]:
    """Return the partitions of every batch."""
    return [Partition("demo.user", str(n)) for n in range(PARTITIONS)]


def batch(nth: int, rows: int = ROWS) -> Batch:
    """Make the nth batch: `rows` rows per partition, one in BAD_EVERY bad."""
    return _process(_records(nth, rows))


def delta_sinks(tables: Tables, store: Callable[[Path], Store] = FolderStore) -> list[DeltaSink]:
    """Open the sinks of the clean table and of the quarantine."""
    first, app = batch(0), tables.app
    clean = DeltaTarget(tables.clean, dict, first.clean.schema, KAFKA, app)
    bad = DeltaTarget(tables.quarantine, dict, first.rejected.schema, KAFKA, app, "rejected")
    return [DeltaSink(t.stage, t, store(Path(t.uri)), SystemClock()) for t in (clean, bad)]


def _records(nth: int, rows: int) -> Records:
    first, last = nth * rows, (nth + 1) * rows
    offset = pl.int_range(first, last, dtype=pl.Int64, eager=True).alias("_offset")
    value = pl.concat_str(
        pl.lit('{"ind": '),
        "_offset",
        pl.lit(', "first_name": "No", "last_name": "One", "age": 30}'),
    )
    good = pl.col("_offset") % BAD_EVERY != 0
    frame = pl.DataFrame([offset]).select(
        pl.lit("demo.user").alias("_topic"),
        "_offset",
        pl.format("key {}", "_offset").alias("_key"),
        pl.lit(_START).cast(TIMESTAMP).alias("_timestamp"),
        pl.when(good).then(value).otherwise(pl.lit("no JSON")).cast(pl.Binary).alias(VALUE),
    )
    columns = [*KAFKA.metadata, VALUE]
    parts = [
        frame.with_columns(pl.lit(n, pl.Int32).alias("_partition")).select(columns)
        for n in range(PARTITIONS)
    ]
    start = Position(first) if nth else None
    span = Span(start, Position(last), rows)
    return Records(pl.concat(parts), dict.fromkeys(partitions(), span), KAFKA)
