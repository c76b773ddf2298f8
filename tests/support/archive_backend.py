"""A raw archive, written by the real sink, as a source."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl

from consumers.archive.ahead import Ahead
from consumers.archive.parquet import decoder
from consumers.archive.pieces import Piece
from consumers.archive.source import FileSource
from consumers.window import Window
from core.batch import HEADERS, HEADERS_DTYPE, VALUE, Batch, Coordinates, Partition, Position, Span
from core.clock import SystemClock
from sinks.parquet import chain
from sinks.parquet.sink import ParquetSink
from sinks.parquet.walk import walk
from sinks.storage.protocol import Store

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
_BATCH = 30  # records of a partition in an object


class ArchiveBackend:
    """Four partitions, or shards whose records come two to a sequence number, below `store`."""

    def __init__(self, store: Store, coordinates: Coordinates, epoch: int | None = 7) -> None:
        self.store, self.coordinates, self.epoch = store, coordinates, epoch
        kafka = coordinates.sub is None
        names = [str(n) if kafka else f"shardId-{n:012d}" for n in range(4)]
        self.partitions = [Partition("demo.user", name) for name in names]
        self._held: dict[Partition, int] = dict.fromkeys(self.partitions, 0)

    def fill(self, values: Sequence[bytes | None]) -> None:
        """Archive `values` round the partitions, some objects for each."""
        own = {p: values[n :: len(self.partitions)] for n, p in enumerate(self.partitions)}
        sink = ParquetSink(self.store, "raw", self.coordinates, "archive")
        sink.positions(self.partitions)
        for first in range(0, max(map(len, own.values())), _BATCH):
            parts = {p: found[first : first + _BATCH] for p, found in own.items()}
            sink.write(self._batch({p: part for p, part in parts.items() if part}))

    def source(self, window: Window | None = None, memory: int = 100_000) -> FileSource:
        """Open what is there now."""
        histories = {p: self.pieces(p) for p in self.partitions}
        found = {p: pieces for p, pieces in histories.items() if pieces}
        ahead = Ahead(self.store.find, self.store.uri, memory, SystemClock())
        decode = decoder(self.coordinates, self.store.uri, headers=False)
        return FileSource(found, ahead, decode, self.coordinates, window or Window())

    def pieces(self, partition: Partition) -> list[Piece]:
        """Walk a chain."""
        links = walk(self.store, self.store.list(chain.folder(partition)))
        return [Piece(own.key, partition, own.start, own.end, own.records) for own in links]

    def at(self, count: int) -> Position | None:
        """Return where the first `count` records of a partition end."""
        if count == 0:
            return None
        c = self.coordinates
        return replace(c.after(*self._numbers(count - 1)), epoch=self.epoch)

    def _numbers(self, n: int) -> tuple[int, int | None]:
        return (n, None) if self.coordinates.sub is None else (100 + n // 2, n % 2)

    def _batch(self, parts: dict[Partition, Sequence[bytes | None]]) -> Batch:
        rows, spans = [], {}
        for partition, found in parts.items():
            first = self._held[partition]
            self._held[partition] = last = first + len(found)
            end = self.at(last)
            assert end is not None
            spans[partition] = Span(self.at(first), end, len(found))
            rows += [self._row(partition, first + n, value) for n, value in enumerate(found)]
        schema = {**self.coordinates.metadata, VALUE: pl.Binary(), HEADERS: HEADERS_DTYPE}
        raw = pl.DataFrame(rows, schema=schema, orient="row")
        return Batch(raw, raw.clear(), raw.clear(), spans, self.coordinates)

    def _row(self, partition: Partition, n: int, value: bytes | None) -> list[object]:
        c = self.coordinates
        number, sub = self._numbers(n)
        time = STARTED + timedelta(seconds=n)
        if sub is None:
            return [partition.source, int(partition.id), number, f"k{n}", time, value, []]
        place = [partition.source, partition.id, c.column_value(Position(number)), sub]
        return [*place, f"k{n}", time, value, []]
