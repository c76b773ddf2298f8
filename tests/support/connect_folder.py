"""Objects as Confluent's S3 sink connector writes them, from its documented layout.

`topics/<topic>/partition=<n>/<topic>+<n>+<10-digit first offset>.json`, one value a line; gzip with
`s3.compression.type`, Parquet with ParquetFormat; keys and headers beside the values with
`store.kafka.keys` and `store.kafka.headers`.
"""

import gzip
import io
import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from consumers.archive import connect
from consumers.archive.ahead import Ahead
from consumers.archive.source import FileSource
from consumers.window import Window
from core.batch import KAFKA, Partition
from core.clock import SystemClock
from sinks.storage.protocol import Store

FLUSH_SIZE = 25


def put(
    store: Store, partition: Partition, first: int, values: Sequence[bytes], kind: str = "json"
) -> str:
    """Write one object; return its key."""
    name = f"{partition.source}+{partition.id}+{first:010d}.{kind}"
    key = f"{partition.source}/partition={partition.id}/{name}"
    text = b"".join(value + b"\n" for value in values)
    if kind.endswith("parquet"):
        body = io.BytesIO()
        pl.DataFrame([json.loads(value) for value in values]).write_parquet(body)
        text = body.getvalue()
    elif kind.endswith(".gz"):
        text = gzip.compress(text)
    store.put_new(key, text, {})
    return key


def export(
    store: Store, topic: str, partitions: Sequence[Sequence[bytes]], kind: str = "json"
) -> None:
    """Write the values of each partition from offset 0 on, FLUSH_SIZE to an object."""
    for number, values in enumerate(partitions):
        for first in range(0, len(values), FLUSH_SIZE):
            part = values[first : first + FLUSH_SIZE]
            put(store, Partition(topic, str(number)), first, part, kind)


class ConnectBackend:
    """Four partitions below `store`, for the source contract."""

    coordinates = KAFKA

    def __init__(self, store: Store, kind: str = "json") -> None:
        self.store, self.kind = store, kind
        self.partitions = [Partition("demo.user", str(n)) for n in range(4)]
        self._held = dict.fromkeys(self.partitions, 0)

    def fill(self, values: Sequence[bytes | None]) -> None:
        """Write `values` round the partitions, some objects for each."""
        for number, partition in enumerate(self.partitions):
            own = [value for value in values[number::4] if value is not None]
            for first in range(0, len(own), FLUSH_SIZE):
                part = own[first : first + FLUSH_SIZE]
                put(self.store, partition, self._held[partition], part, self.kind)
                self._held[partition] += len(part)

    def source(self, window: Window | None = None, **options: Any) -> FileSource:
        """Open what is there now."""
        place, found = self.store.uri, {}
        for partition in self.partitions:
            keys = self.store.list(f"demo.user/partition={partition.id}/")
            named = [each for key in keys if (each := connect.named(key, place))]
            if named:
                last = max(named, key=lambda each: each.first).key
                records, _ = connect.tail(last, self.store.read(last), place)
                found[partition] = connect.pieces(named, place, records)
        ahead = Ahead(self.store.find, place, 100_000, SystemClock())
        decode = connect.decoder(place, headers=False)
        return FileSource(found, ahead, decode, KAFKA, window or Window(), **options)
