"""A plain loop: poll, json.loads, a frame of dicts, append, commit the offsets.

At least once: a crash between append and offset commit duplicates rows.
"""

import json
from typing import Any

import polars as pl
from confluent_kafka import Consumer
from deltalake import write_deltalake

from benchmarks.contestants import BATCH, Task, note, task
from core.batch import RESCUED
from transforms import pin

COORDINATES = {"_partition": pl.Int32(), "_offset": pl.Int64()}


def run(given: Task) -> None:
    """Consume until killed."""
    own = {"group.id": given.folder.name, "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": given.bootstrap, **own, "enable.auto.commit": False})
    consumer.subscribe([given.topic])
    rows: list[dict[str, Any]] = []
    seen = 0
    while True:
        message = consumer.poll(1.0)
        if message is not None and not message.error():
            if not seen:
                note(given.folder, "first")
            seen += 1
            coordinates = {"_partition": message.partition(), "_offset": message.offset()}
            rows.append(json.loads(message.value() or b"") | coordinates)
        if len(rows) == BATCH or (rows and message is None):
            append(given.table, rows)
            consumer.commit(asynchronous=False)
            rows = []


def append(table: str, rows: list[dict[str, Any]]) -> None:
    """Clean the rows as pinpip does, and append them to the table."""
    frame = pl.DataFrame(rows, schema={**pin.SCHEMA.fields, **COORDINATES}, strict=False)
    unrescued = frame.lazy().with_columns(pl.lit(None, pl.String()).alias(RESCUED))
    write_deltalake(table, pin.clean(unrescued).drop(RESCUED).collect(), mode="append")


if __name__ == "__main__":
    run(task())
