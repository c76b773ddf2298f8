"""What must hold of one partition's rows, ledger and position: pure checks that answer findings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Literal

import polars as pl

from core.batch import Coordinates, Partition, Position
from sinks.delta.ledger import CommitRange


class Kind(StrEnum):
    """What can be wrong with a table."""

    DUPLICATE = "duplicate"
    MISSING = "missing"
    SURPLUS = "surplus"
    GAP = "gap"
    LEDGER = "ledger"
    POSITION = "position"
    BEHIND = "behind"
    ARCHIVE = "archive"
    DIFFERENT = "different"
    TRANSFORM = "transform"
    RECREATED = "recreated"


@dataclass(frozen=True)
class Finding:
    """One difference; `partition` is None when it concerns a whole table."""

    kind: Kind
    partition: Partition | None
    detail: str


@dataclass(frozen=True)
class Unknown:
    """What the data cannot prove; `partition` is None when it concerns a whole table."""

    partition: Partition | None
    detail: str


@dataclass(frozen=True)
class Held:
    """What one table holds of one partition.

    `keys`: one per row, sorted: offsets (Int64) or `sequence.subsequence` (String).
    `ranges`: the ledger's, oldest commit first. `expired`: offsets that retention took unread.
    `accepted_gaps`: stretches of a shard of which records may have expired unread. `origin`: where
    the pipeline began, None where that was not kept. `begin`: the offset from which on all rows
    must be there, None where that is not known.
    """

    table: str
    partition: Partition
    coordinates: Coordinates
    keys: pl.Series
    ranges: Sequence[CommitRange]
    position: Position | None
    expired: int = 0
    accepted_gaps: int = 0
    origin: Position | None = None
    begin: Position | None = None

    @property
    def edge(self) -> Position | None:
        """Where the ledger begins: rows before it have no other witness. None: at the start."""
        return self.ranges[0].start if self.ranges else self.position

    @property
    def expired_before(self) -> int:
        """Of `expired` what the ledger no longer says."""
        return max(0, self.expired - sum(r.expired for r in self.ranges))

    def read_before(self, positions: Sequence[Position | None]) -> list[int]:
        """How many different keys a reader at each position has read."""
        given = [self.key(p) for p in positions if p is not None]
        wanted = pl.Series(given, dtype=self.keys.dtype)
        # Kafka's position is the next offset, Kinesis's the last record read.
        side: Literal["left", "right"] = "left" if self.coordinates.sub is None else "right"
        found = iter(self.distinct.search_sorted(wanted, side))
        return [0 if p is None else next(found) for p in positions]

    @cached_property
    def distinct(self) -> pl.Series:
        """Each key once, sorted."""
        return self.keys.filter(firsts(self.keys))

    def key(self, position: Position) -> int | str:
        """Return the position as a key."""
        number = self.coordinates.column_value(position)
        return number if isinstance(number, int) else f"{number}.{position.sub:010d}"


def keys(frame: pl.LazyFrame, coordinates: Coordinates, beside: Sequence[str]) -> pl.LazyFrame:
    """Select the columns `beside` and `key`, which names and orders a partition's records."""
    key = pl.col(coordinates.number)
    if coordinates.sub is not None:
        sub = pl.col(coordinates.sub).cast(pl.String).str.zfill(10)
        key = pl.concat_str([key, sub], separator=".")
    return frame.select(*beside, key=key)


def key_dtype(coordinates: Coordinates) -> pl.DataType:
    """Return the type of a key: an offset, or text."""
    return pl.Int64() if coordinates.sub is None else pl.String()


def firsts(ordered: pl.Series) -> pl.Series:
    """Where a sorted series has a value for the first time."""
    return ordered.ne_missing(ordered.shift(1))


def check(clean: Held, quarantine: Held) -> Iterator[Finding]:
    """All checks of one partition."""
    yield from _duplicates(clean, quarantine)
    for held in (clean, quarantine):
        yield from _chain(held)
        yield from _plausible(held)
        yield from _position(held)
    yield from _counts(clean, clean.ranges, lambda r: r.clean)
    yield from _counts(quarantine, quarantine.ranges, lambda r: r.quarantined)
    yield from _behind(clean, quarantine)


def _duplicates(clean: Held, quarantine: Held) -> Iterator[Finding]:
    """Each record is in one place once."""
    together = pl.concat([clean.keys, quarantine.keys]).sort()
    double = together.filter(~firsts(together))
    if double.is_empty():
        return
    where = f"{clean.table} and {quarantine.table} together"
    yield Finding(
        Kind.DUPLICATE,
        clean.partition,
        f"{double.len()} rows too many in {where}, the first is {double[0]}",
    )


def _chain(held: Held) -> Iterator[Finding]:
    """Each commit starts where the one before it ended."""
    for before, after in pairwise(held.ranges):
        if after.start != before.end:
            yield Finding(
                Kind.LEDGER,
                held.partition,
                f"{held.table}: a commit ends at {text(before.end)}, the next starts at "
                f"{text(after.start)}",
            )


def _plausible(held: Held) -> Iterator[Finding]:
    """Check that a range has as many offsets as records at least, and as many records as rows."""
    for r in held.ranges:
        start = r.start.number if r.start else 0
        room = r.end.number - start - r.expired if held.coordinates.sub is None else r.read
        doubled = r.clean + r.quarantined > r.read
        if r.read <= room and not doubled:
            continue
        said = (
            f"{held.table}: a commit made {r.clean} clean and {r.quarantined} quarantined rows of "
            f"{r.read} records between {text(r.start)} and {text(r.end)}"
        )
        cause = ": the transform doubled records" if doubled else ""
        yield Finding(Kind.TRANSFORM if doubled else Kind.LEDGER, held.partition, said + cause)


def _position(held: Held) -> Iterator[Finding]:
    """Check that the stored position is where the ledger and the rows end."""
    position, ranges = held.position, held.ranges
    if ranges and position != ranges[-1].end:
        yield Finding(
            Kind.POSITION,
            held.partition,
            f"{held.table}: the position is {text(position)}, the last commit ended at "
            f"{text(ranges[-1].end)}",
        )
    beyond = held.distinct.len() - held.read_before([position])[0]
    if beyond:
        yield Finding(
            Kind.POSITION,
            held.partition,
            f"{held.table}: {beyond} rows lie beyond the position {text(position)}",
        )


def _counts(
    held: Held,
    ranges: Sequence[CommitRange],
    expected: Callable[[CommitRange], int],
    lost: Callable[[CommitRange], int] = lambda _: 0,
) -> Iterator[Finding]:
    """Check that each range has as many rows as its ledger says, or fewer by what is `lost`.

    Double ones count once.
    """
    starts = held.read_before([r.start for r in ranges])
    ends = held.read_before([r.end for r in ranges])
    for r, first, last in zip(ranges, starts, ends, strict=True):
        rows, wanted = last - first, expected(r)
        if not 0 <= wanted - rows <= lost(r):
            yield Finding(
                Kind.MISSING if rows < wanted else Kind.SURPLUS,
                held.partition,
                f"{held.table}: {rows} rows instead of {wanted} between {text(r.start)} and "
                f"{text(r.end)}",
            )


def _behind(clean: Held, quarantine: Held) -> Iterator[Finding]:
    """Check that what the clean table's commits rejected is in the quarantine.

    After a crash between the two it is not yet, and will be read again: that is being behind.
    """
    done = [r for r in clean.ranges if _reaches(quarantine.position, r.end)]
    owed = sum(r.quarantined for r in clean.ranges) - sum(r.quarantined for r in done)
    if owed:
        yield Finding(
            Kind.BEHIND,
            clean.partition,
            f"{quarantine.table}: {owed} rows are not there yet, it is at "
            f"{text(quarantine.position)}",
        )
    yield from _counts(
        quarantine, done, lambda r: r.quarantined, lambda r: _expired_within(r, quarantine)
    )


def lost_rejects(clean: Held, quarantine: Held) -> int:
    """Rows that the quarantine still had to get when their records expired."""
    ranges = [r for r in clean.ranges if _expired_within(r, quarantine)]
    starts = quarantine.read_before([r.start for r in ranges])
    ends = quarantine.read_before([r.end for r in ranges])
    held = [last - first for first, last in zip(starts, ends, strict=True)]
    return sum(max(0, r.quarantined - n) for r, n in zip(ranges, held, strict=True))


def _expired_within(r: CommitRange, quarantine: Held) -> int:
    """How many offsets of the clean table's range had expired before the quarantine was there."""
    start = r.start.number if r.start else 0
    gaps = [(g.start.number, g.start.number + g.expired) for g in quarantine.ranges if g.start]
    return sum(max(0, min(r.end.number, end) - max(start, begin)) for begin, end in gaps)


def _reaches(position: Position | None, end: Position) -> bool:
    return position is not None and position >= end


def text(position: Position | None) -> str:
    """Describe a position in words."""
    if position is None:
        return "the start"
    return f"{position.number}.{position.sub}" if position.sub else str(position.number)
