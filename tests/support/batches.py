"""Batches of an invented log: what a source and a transform would hand to a sink."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import polars as pl

from core.batch import (
    HEADERS,
    HEADERS_DTYPE,
    KAFKA,
    RESCUED,
    VALUE,
    Batch,
    Coordinates,
    Partition,
    Position,
    Span,
)
from core.origins import Begin
from core.protocols import Options
from sinks.delta.target import DeltaTarget

APP = "pinpip/pin/1"

# As long as Kinesis makes them today: 56 digits, 186 bits.
FIRST_SEQUENCE = 49590338271490256608559692538361571095921575989136588898
_STARTED = datetime(2024, 5, 1, tzinfo=UTC)
_TEXTS = ["plain", "No Bake 🎉", 'quoted "text"\nof two lines', None]

CLEAN_SCHEMA = {"ind": pl.Int64(), "title": pl.String(), "pair": pl.List(pl.Float64())}
REJECTED_SCHEMA = {
    VALUE: pl.Binary(),
    "reason": pl.String(),
    "detail": pl.String(),
    "transform_version": pl.String(),
}


def delta_target(
    uri: str,
    options: Options,
    coordinates: Coordinates,
    stage: Literal["clean", "rejected"],
) -> DeltaTarget:
    """Return the target of the clean table or the quarantine; the latter defers empty commits."""
    metadata = dict(coordinates.metadata)
    clean = CLEAN_SCHEMA | metadata | {RESCUED: pl.String()}
    return DeltaTarget(
        uri=uri,
        options=options,
        schema=pl.Schema(clean if stage == "clean" else metadata | REJECTED_SCHEMA),
        coordinates=coordinates,
        app=APP,
        stage=stage,
        defer=0.0 if stage == "clean" else 60.0,
    )


@dataclass(frozen=True)
class RecordLog:
    """Endless partitions whose nth record is always the same; every third is a bad one."""

    coordinates: Coordinates
    source: str = "demo.pin"

    def partition(self, index: int) -> Partition:
        """Return the partition or shard of this number."""
        kafka = self.coordinates.sub is None
        return Partition(self.source, str(index) if kafka else f"shardId-{index:012d}")

    def position(self, count: int) -> Position | None:
        """Where the first `count` records of a partition end."""
        if count == 0:
            return None
        if self.coordinates.sub is None:
            return Position(count)
        return Position(*_sequence(count - 1))

    def count(self, position: Position | None) -> int:
        """How many records lie before `position`."""
        if position is None:
            return 0
        if self.coordinates.sub is None:
            return position.number
        return 2 * (position.number - FIRST_SEQUENCE) + position.sub + 1

    def batch(self, parts: Mapping[int, tuple[int, int]]) -> Batch:
        """Make a batch of records [first, last) of each partition, given by number."""
        rows = [self._row(index, n) for index, (i, j) in parts.items() for n in range(i, j)]
        good = [row for row in rows if not _bad(row)]
        bad = [row for row in rows if _bad(row)]
        metadata = dict(self.coordinates.metadata)
        raw = metadata | {VALUE: pl.Binary(), HEADERS: HEADERS_DTYPE}
        clean = CLEAN_SCHEMA | metadata | {RESCUED: pl.String()}
        return Batch(
            raw=pl.DataFrame(rows, schema=raw, orient="row"),
            clean=pl.DataFrame(good, schema=clean, orient="row"),
            rejected=pl.DataFrame(bad, schema=metadata | REJECTED_SCHEMA, orient="row"),
            spans={self.partition(p): self._span(i, j) for p, (i, j) in parts.items() if i < j},
            coordinates=self.coordinates,
        )

    def without_rows(self, parts: Mapping[int, tuple[int, int]]) -> Batch:
        """Make the batch of the same ranges without rows, as after compaction or a filter."""
        full = self.batch(parts)
        return Batch(
            full.raw.clear(),
            full.clean.clear(),
            full.rejected.clear(),
            full.spans,
            full.coordinates,
        )

    def after_gap(self, batch: Batch, index: int, held: int) -> Batch:
        """Make the batch that follows a gap: the records from `held` to its first have expired."""
        partition = self.partition(index)
        span = batch.spans[partition]
        gap = replace(span, start=self.position(held), first=span.start)
        return replace(batch, spans={**batch.spans, partition: gap})

    def _span(self, first: int, last: int) -> Span:
        end = self.position(last)
        assert end is not None
        return Span(self.position(first), end, last - first)

    def _row(self, index: int, n: int) -> dict[str, object]:
        partition = self.partition(index)
        row: dict[str, object] = {
            self.coordinates.source: partition.source,
            self.coordinates.partition: int(partition.id) if self._kafka else partition.id,
            self.coordinates.key: f"key-{n}",
            "_timestamp": _STARTED + timedelta(microseconds=n),
        }
        return row | self._numbers(n) | _content(n)

    def _numbers(self, n: int) -> dict[str, object]:
        if self._kafka:
            return {self.coordinates.number: n}
        number, sub = _sequence(n)
        return {self.coordinates.number: f"{number:064d}", str(self.coordinates.sub): sub}

    @property
    def _kafka(self) -> bool:
        return self.coordinates is KAFKA


def _sequence(n: int) -> tuple[int, int]:
    """Two records share one sequence number, as the records of one aggregate do."""
    return FIRST_SEQUENCE + n // 2, n % 2


def _content(n: int) -> dict[str, object]:
    return {
        "ind": n,
        "title": _TEXTS[n % 4],
        "pair": [n / 3, -float(n)],
        RESCUED: '{"extra": 1}' if n % 5 == 0 else None,
        VALUE: b'{"ind": %d}' % n,
        HEADERS: [{"key": "trace", "value": b"\x00\xff"}],
        "reason": "not_json",
        "detail": f"record {n}",
        "transform_version": "1",
    }


def _bad(row: dict[str, object]) -> bool:
    return int(str(row["ind"])) % 3 == 0


def begin(low: int, end: int, *, latest: bool = False) -> Begin:
    """As Kafka tells it."""
    first, later = (end, 0) if latest else (low, low)
    return Begin(Position(low), Position(end), Position(first), Position(later))
