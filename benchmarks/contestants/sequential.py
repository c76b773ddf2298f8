"""A single-threaded prototype of the design: batches, Parquet files, offsets in the commit.

It has no compare-and-set, rejects, rescue or rebalances: the costs below pinpip's guarantees.
"""

import io
import json
import time
from operator import methodcaller
from pathlib import Path
from uuid import uuid4

import polars as pl
from confluent_kafka import Message
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.transaction import AddAction

from benchmarks.contestants import BATCH, Task, note, task
from benchmarks.contestants.drain import tuned
from core.batch import RESCUED
from transforms import pin

_QUIET = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def run(given: Task) -> None:
    """Consume until killed."""
    consumer = tuned(given.bootstrap, given.folder.name)
    consumer.subscribe([given.topic])
    table: DeltaTable | None = None
    while True:
        messages = [m for m in consumer.consume(BATCH, 1.0) if not m.error()]
        if messages:
            if table is None:
                note(given.folder, "first")
            rows = clean(messages)
            if table is None:
                schema = Schema.from_arrow(rows.to_arrow().schema)
                table = DeltaTable.create(given.table, schema)
            commit(table, Path(given.table), rows)


def clean(messages: list[Message]) -> pl.DataFrame:
    """Return the messages as clean rows."""
    values = map(methodcaller("value"), messages)
    rows = pl.read_ndjson(io.BytesIO(b"\n".join(values)), schema=dict(pin.SCHEMA.fields))
    coordinates = [
        pl.Series("_partition", [m.partition() for m in messages], pl.Int32),
        pl.Series("_offset", [m.offset() for m in messages], pl.Int64),
        pl.lit(None, pl.String).alias(RESCUED),
    ]
    return pin.clean(rows.with_columns(coordinates).lazy()).drop(RESCUED).collect()


def commit(table: DeltaTable, folder: Path, rows: pl.DataFrame) -> None:
    """Write one file, and commit it with its end offsets."""
    name = f"{uuid4()}.parquet"
    rows.write_parquet(folder / name, compression="zstd", compression_level=1)
    ends = rows.group_by("_partition").agg(pl.col("_offset").max() + 1).rows()
    stats = json.dumps({"numRecords": rows.height})
    now = int(time.time() * 1000)
    size = (folder / name).stat().st_size
    table.update_incremental()
    table.create_write_transaction(
        [AddAction(name, size, {}, now, data_change=True, stats=stats)],
        "append",
        table.schema(),
        commit_properties=CommitProperties(
            app_transactions=[Transaction(f"{number}", end, now) for number, end in ends]
        ),
        post_commithook_properties=_QUIET,
    )


if __name__ == "__main__":
    run(task())
