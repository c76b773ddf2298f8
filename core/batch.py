"""Partitions, positions and batches: what flows through the rooms.

A position travels with the rows it belongs to; "+1" is decided in `Coordinates` and nowhere else.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, NamedTuple

import polars as pl
from pydantic import Field

TIMESTAMP = pl.Datetime("us", "UTC")
VALUE = "_value"
HEADERS = "_headers"
CLAIMED = "claimed"
RESCUED = "_rescued"
HEADERS_DTYPE = pl.List(pl.Struct({"key": pl.String, "value": pl.Binary}))


class Partition(NamedTuple):
    """One ordered log: a partition of a topic or a shard of a stream."""

    source: str
    id: str

    def __str__(self) -> str:
        return f"{self.source}/{self.id}"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where to read next in one partition.

    Kafka: `number` is the next offset, `sub` is 0.
    Kinesis: the sequence number and sub-sequence of the last record read; reading goes on after.
    `epoch` is which life of the log they count in, see `core.topic_id`; None: the source cannot
    tell. It is not compared: two lives of one log are refused where they meet.
    `digits`: how many digits the sequence number had when it came with leading zeros, else 0.
    """

    number: int
    sub: int = 0
    epoch: int | None = field(default=None, compare=False)
    digits: Annotated[int, Field(exclude=True)] = field(default=0, compare=False)

    def agrees(self, epoch: int | None) -> bool:
        """Return whether this position can count in the life `epoch`; unknown ones agree."""
        return None in {self.epoch, epoch} or self.epoch == epoch

    @property
    def received(self) -> str:
        """The number as the source wrote it."""
        return str(self.number).zfill(self.digits)


def reaches(at: Position | None, end: Position) -> bool:
    """Return whether a reader at `at` has read everything before `end`; None has read nothing."""
    return at is not None and at >= end


class Stretch(NamedTuple):
    """What a reader at `start` (None: at the first record) reads until it is at `end`."""

    start: Position | None
    end: Position


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one partition: `records` records were read between `start` and `end`.

    `start` is None when nothing was held before. Offsets are not dense, so `records` may be less
    than the difference of the ends (compaction, transaction markers). `first`: the first record
    that was left where retention took some from `start` on, and the operator accepted that.
    """

    start: Position | None
    end: Position
    records: int
    first: Position | None = None

    def expired(self, held: Position | None) -> int:
        """How many offsets a reader at `held` will never get, as the operator accepted."""
        if self.first is None or held is None:
            return 0
        return max(0, self.first.number - held.number)

    def gap(self, held: Position | None) -> range:
        """Return the offsets that the slowest sink lacks; empty if one at `held` lacks none."""
        if not self.expired(held) or held is None or self.first is None:
            return range(0)
        return range((self.start or held).number, self.first.number)


READ_TO_END = 2**62  # the tip of a closed shard of which every record was read


@dataclass(frozen=True, slots=True)
class Note:
    """What a source that does not tell its first record knows of a partition, for the table.

    `tip`: when a reader at `position` had read the partition to its end, in milliseconds since
    1970; `READ_TO_END` where nothing can follow. `accepted_gaps`: stretches before `position` of
    which records may have expired unread, as the operator accepted.
    """

    position: Position | None
    tip: int | None = None
    accepted_gaps: int = 0


@dataclass(frozen=True)
class Coordinates:
    """How one kind of source names records and positions; `metadata`: its columns, in order."""

    kind: str
    source: str
    partition: str
    number: str
    sub: str | None
    key: str
    metadata: Mapping[str, pl.DataType]

    @property
    def identity(self) -> list[str]:
        """The columns that together name one record."""
        own = [self.source, self.partition, self.number]
        return own if self.sub is None else [*own, self.sub]

    def after(self, number: int | str, sub: int | None) -> Position:
        """Return the position after the record with these coordinates."""
        return Position(int(number) + 1) if sub is None else Position(int(number), sub)

    def before(self, number: int | str, sub: int | None) -> Position:
        """Return the position at which the record with these coordinates comes next."""
        return Position(int(number)) if sub is None else Position(int(number), sub - 1)

    def column_value(self, position: Position) -> int | str:
        """`position.number` as its column holds it: a sequence number is text of 64 digits."""
        return position.number if self.sub is None else f"{position.number:064d}"

    def of(self, partition: Partition) -> pl.Expr:
        """Select the rows of `partition`."""
        dtype = self.metadata[self.partition]
        source = pl.col(self.source) == pl.lit(partition.source)
        return source & (pl.col(self.partition) == pl.lit(partition.id).cast(dtype))

    def unread(self, position: Position | None) -> pl.Expr:
        """Select the rows that a reader at `position` has not read; None has read nothing."""
        if position is None:
            return pl.lit(value=True)
        number = pl.lit(self.column_value(position))
        if self.sub is None:
            return pl.col(self.number) >= number
        later = pl.col(self.number) > number
        return later | ((pl.col(self.number) == number) & (pl.col(self.sub) > position.sub))

    def beyond(self, positions: Mapping[Partition, Position | None]) -> pl.Expr:
        """Select the rows of any partition in `positions` that lie beyond its position."""
        rows = [self.of(p) & self.unread(position) for p, position in positions.items()]
        return pl.any_horizontal(rows) if rows else pl.lit(value=False)

    def within(self, stretches: Mapping[Partition, Stretch]) -> pl.Expr:
        """Select the rows that a reader finds between the ends of any of `stretches`."""
        rows = [
            self.of(p) & self.unread(start) & ~self.unread(end)
            for p, (start, end) in stretches.items()
        ]
        return pl.any_horizontal(rows) if rows else pl.lit(value=False)

    def counts(self, frame: pl.DataFrame) -> dict[Partition, int]:
        """Rows per partition."""
        grouped = frame.lazy().group_by(self.source, self.partition).len().collect()
        return {Partition(source, str(part)): n for source, part, n in grouped.iter_rows()}


KAFKA = Coordinates(
    kind="kafka",
    source="_topic",
    partition="_partition",
    number="_offset",
    sub=None,
    key="_key",
    metadata={
        "_topic": pl.String(),
        "_partition": pl.Int32(),
        "_offset": pl.Int64(),
        "_key": pl.String(),
        "_timestamp": TIMESTAMP,
    },
)

KINESIS = Coordinates(
    kind="kinesis",
    source="_stream",
    partition="_shard",
    number="_sequence",
    sub="_subsequence",
    key="_partition_key",
    metadata={
        "_stream": pl.String(),
        "_shard": pl.String(),
        "_sequence": pl.String(),
        "_subsequence": pl.Int64(),
        "_partition_key": pl.String(),
        "_timestamp": TIMESTAMP,
    },
)


@dataclass(frozen=True)
class Records:
    """What a source read, undecoded.

    `frame`: the metadata columns of `coordinates`, `_value` (Binary, null for a tombstone) and, if
    wanted, `_headers` (HEADERS_DTYPE). Rows of one partition are in its order.
    """

    frame: pl.DataFrame
    spans: Mapping[Partition, Span]
    coordinates: Coordinates
    notes: Mapping[Partition, Note] = field(default_factory=dict)

    @cached_property
    def nbytes(self) -> int:
        """Bytes the frame holds."""
        return int(self.frame.estimated_size())

    def without(self, partitions: Collection[Partition]) -> "Records":
        """Return the same records without those of `partitions`."""
        gone = [self.coordinates.of(p) for p in partitions if p in self.spans]
        frame = self.frame.remove(pl.any_horizontal(gone)) if gone else self.frame
        spans = {p: span for p, span in self.spans.items() if p not in partitions}
        notes = {p: note for p, note in self.notes.items() if p not in partitions}
        return Records(frame, spans, self.coordinates, notes)


class Rejects(NamedTuple):
    """How many of the last records, those in the window of the reject limit, were rejected."""

    records: int
    rejected: int


@dataclass(frozen=True)
class Batch:
    """Decoded and cleaned records on their way to the sinks, with the spans they cover.

    All frames have the metadata columns of `coordinates`.
    `raw`: what was taken (with `_value` only when a sink archives it),
    `clean`: the table's columns, the metadata columns, `_rescued`,
    `rejected`: the metadata columns, `_value`, `reason`, `detail`, and the versions that made it.
    `window`: the rejects among the last records, this batch included; None where nobody counts.
    `left_out`: metadata of records that `where` does not take, with `claimed`: if another pipeline
    takes it. None without `where`. `transform_version`: as its author names it.
    """

    raw: pl.DataFrame
    clean: pl.DataFrame
    rejected: pl.DataFrame
    spans: Mapping[Partition, Span]
    coordinates: Coordinates
    window: Rejects | None = None
    notes: Mapping[Partition, Note] = field(default_factory=dict)
    left_out: pl.DataFrame | None = None
    transform_version: str = ""

    def outline(self) -> "Batch":
        """Return the batch with the metadata columns alone of what was read and cleaned."""
        names = list(self.coordinates.metadata)
        return replace(self, raw=self.raw.select(names), clean=self.clean.select(names))

    @cached_property
    def counts(self) -> tuple[Mapping[Partition, int], ...]:
        """Rows per partition: of `raw`, `clean`, `rejected`; of `left_out` and its unclaimed."""
        out = () if self.left_out is None else (self.left_out, self.left_out.remove(CLAIMED))
        return tuple(map(self.coordinates.counts, (self.raw, self.clean, self.rejected, *out)))


Positions = Mapping[Partition, Position | None]
