"""What a Parquet sink holds in memory until its next objects: rows, and how far they reach.

Frames are kept as they came and are written once. One write of a minute takes less CPU and makes
smaller objects than sixty writes, and what is held is counted in bytes either way.
"""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

import polars as pl

from core.batch import Batch, Coordinates, Partition, Position, Positions, Span, Stretch
from core.errors import SinkError

Stage = Literal["raw", "clean"]


@dataclass(frozen=True)
class Pace:
    """A sink writes once a row has waited `seconds` or `most` bytes are held."""

    seconds: float = 0.0
    most: int = 0


EACH_BATCH = Pace()


@dataclass(frozen=True)
class Part:
    """What an object will hold of one partition: `records` rows between `start` and `end`.

    `expired` and `gap`: what of its range was accepted as expired (see `core.batch.Span`).
    `since`: when its first batch was held, in monotonic seconds.
    """

    start: Position | None
    end: Position
    records: int
    expired: int = 0
    gap: range = range(0)
    since: float = 0.0

    def joined(self, after: "Part") -> "Part":
        """Return this part and the one that follows it as one."""
        return replace(
            self,
            end=after.end,
            records=self.records + after.records,
            expired=self.expired + after.expired,
            gap=after.gap or self.gap,
        )


@dataclass(frozen=True)
class Taken:
    """The rows of one batch that the sink had not seen, and their partitions."""

    rows: pl.DataFrame
    parts: Mapping[Partition, Part]

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return int(self.rows.estimated_size())

    def upload(self) -> None:
        """Do nothing: rows are written together with those of other batches."""


@dataclass
class Held:
    """The parts of partitions that no object holds yet, and a superset of their rows.

    `sealed`: parts whose objects were begun. They grow no more: a repeated put must be the same.
    """

    coordinates: Coordinates
    pace: Pace
    open: dict[Partition, Part] = field(default_factory=dict)
    sealed: dict[Partition, Part] = field(default_factory=dict)
    nbytes: int = 0
    _frames: list[pl.DataFrame] = field(default_factory=list)
    _columns: pl.DataFrame = field(default_factory=pl.DataFrame)

    def add(self, rows: pl.DataFrame, parts: Mapping[Partition, Part], now: float) -> None:
        """Hold parts that follow the ones that are held; `rows` may have others, too."""
        for partition, part in parts.items():
            held = self.open.get(partition)
            self.open[partition] = held.joined(part) if held else replace(part, since=now)
        self._columns = rows.clear()
        if not rows.is_empty():
            self._frames.append(rows)
            self.nbytes += int(rows.estimated_size())

    @property
    def partitions(self) -> set[Partition]:
        """Those of which something is held."""
        return {*self.open, *self.sealed}

    def end(self, partition: Partition) -> Position | None:
        """Return where the last part of the partition ends; None: nothing of it is held."""
        part = self.open.get(partition) or self.sealed.get(partition)
        return part.end if part else None

    def due(self, now: float) -> list[Partition]:
        """Return the partitions whose open parts are to be written now.

        Rows are written together. A part without rows waits for some, but not for ever: a position
        that is never stored would fall behind the source's retention. Gaps are stored one by one.
        """
        late = {p for p, part in self.open.items() if now - part.since >= self.pace.seconds}
        full = bool(self._frames) and self.nbytes >= self.pace.most
        full = full or any(self.open[p].records for p in late)
        own = self.open.items()
        return [p for p, part in own if p in late or part.gap or (full and part.records)]

    @property
    def overdue_at(self) -> float:
        """When the first part is to be written, in monotonic seconds; infinity: none is held."""
        firsts = [part.since for part in (*self.open.values(), *self.sealed.values())]
        return min(firsts, default=inf) + self.pace.seconds

    def rows_of(self, rows: pl.DataFrame, partition: Partition) -> pl.DataFrame:
        """Return those of all `rows` that the sealed part has; SinkError if they are not that many.

        The number is what `verify` goes by.
        """
        part = self.sealed[partition]
        own = rows.filter(self.coordinates.within({partition: Stretch(part.start, part.end)}))
        if own.height != part.records:
            raise SinkError(
                f"{own.height} rows of {partition} are held instead of {part.records}",
                "report this, and start the consumer again: it reads them again",
            )
        return own

    def seal(self, partitions: Collection[Partition]) -> None:
        """Begin the objects of these partitions, unless they were begun before."""
        for partition in partitions:
            if partition in self.open and partition not in self.sealed:
                self.sealed[partition] = self.open.pop(partition)

    def rows(self) -> pl.DataFrame:
        """Return all rows in one chunk, so that those of each partition are found fast."""
        return pl.concat([self._columns, *self._frames], rechunk=True)

    def written(self, partitions: Collection[Partition]) -> None:
        """Forget sealed parts that are objects now."""
        for partition in partitions:
            del self.sealed[partition]
        self._trim()

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget parts with their rows: they may be read and held again."""
        for partition in partitions:
            self.open.pop(partition, None)
            self.sealed.pop(partition, None)
        self._trim()
        if self._frames and partitions:
            gone = pl.any_horizontal([self.coordinates.of(p) for p in partitions])
            self._frames = [rows.remove(gone) for rows in self._frames]

    def _trim(self) -> None:
        """Let the frames go with the last part that has rows in them."""
        if not any(part.records for part in (*self.open.values(), *self.sealed.values())):
            self._frames, self.nbytes = [], 0


def take(batch: Batch, stage: Stage, seen: Positions) -> Taken:
    """Return the rows of `batch` beyond `seen`, which has the partitions that it advances."""
    coordinates = batch.coordinates
    whole = batch.raw if stage == "raw" else batch.clean
    if {p: span.start for p, span in batch.spans.items()} != seen:
        rows = _compact(whole.filter(coordinates.beyond(seen)))
    elif batch.left_out is not None and not batch.left_out.is_empty():
        rows = _compact(whole)
    else:
        rows = whole
    counts = coordinates.counts(rows)
    spans = {p: batch.spans[p] for p in seen}
    return Taken(rows, {p: _part(seen[p], span, counts.get(p, 0)) for p, span in spans.items()})


def _part(seen: Position | None, span: Span, records: int) -> Part:
    """Return what a span brings beyond `seen`; the epoch is the one that was known first."""
    epoch = seen.epoch if seen and seen.epoch is not None else span.end.epoch
    end = replace(span.end, epoch=epoch)
    return Part(seen, end, records, span.expired(seen), span.gap(seen))


def _compact(rows: pl.DataFrame) -> pl.DataFrame:
    """Return a copy: rows that were filtered keep the whole buffers of their frame alive."""
    body = io.BytesIO()
    rows.write_ipc(body, compat_level=pl.CompatLevel.oldest())
    body.seek(0)
    return pl.read_ipc(body)
