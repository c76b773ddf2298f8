"""Check the rows, ledger and position of one partition: pure functions that yield findings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise

import polars as pl

from core.batch import Coordinates, Partition, Position, reaches
from sinks.delta import amendments
from sinks.delta.keys import expr, of, side
from sinks.delta.ledger import Amendment, CommitRange


class FindingKind(StrEnum):
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
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Finding:
    """One difference; `partition` is None when it concerns the whole table."""

    kind: FindingKind
    partition: Partition | None
    detail: str


@dataclass(frozen=True)
class Unknown:
    """What the data cannot prove; `partition` is None when it concerns the whole table."""

    partition: Partition | None
    detail: str


@dataclass(frozen=True)
class TablePartition:
    """The content of one table for one partition.

    `keys`: one per row, sorted: offsets (Int64) or `sequence.subsequence` (String).
    `ranges`: the ledger's, oldest commit first. `expired`: offsets that expired unread.
    `accepted_gaps`: stretches of a shard of which records may have expired unread. `origin`: where
    the pipeline began, None where it was not stored. `begin`: the first offset that must have a
    row, None where it is not known. `left_out`: records that the pipeline's `where` did not take.
    `amendments`: what replacements of rows changed of the counts in `ranges`.
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
    left_out: int = 0
    amendments: Sequence[Amendment] = ()

    @property
    def today(self) -> Sequence[CommitRange]:
        """The ranges with the counts of today: as they were committed, and amended since."""
        return self._amended[0]

    @property
    def amended_before(self) -> int:
        """How many rows more replacements left in ranges that the ledger no longer lists."""
        return sum(own.clean + own.quarantined for own in self._amended[1])

    @cached_property
    def misplaced(self) -> list[Amendment]:
        """Amendments of no commit's range, although the ledger reaches back so far."""
        edge = self.edge
        return [own for own in self._amended[1] if edge is None or own.end > edge]

    @cached_property
    def _amended(self) -> tuple[list[CommitRange], list[Amendment]]:
        return amendments.applied(self.ranges, self.amendments)

    @property
    def edge(self) -> Position | None:
        """Where the ledger begins, None at the start: no ledger entry covers the rows before it."""
        return self.ranges[0].start if self.ranges else self.position

    @property
    def expired_before(self) -> int:
        """The part of `expired` that the ledger no longer lists."""
        return max(0, self.expired - sum(r.expired for r in self.ranges))

    @property
    def left_out_before(self) -> int:
        """The part of `left_out` that the ledger no longer lists."""
        return max(0, self.left_out - sum(r.left_out for r in self.ranges))

    @cached_property
    def gaps(self) -> list[tuple[int, int]]:
        """The ends of each range of offsets that expired unread; most tables have none."""
        expired = [(r.start.number, r.expired) for r in self.ranges if r.start and r.expired]
        return [(begin, begin + count) for begin, count in expired]

    def read_before(self, positions: Sequence[Position | None]) -> list[int]:
        """Return how many distinct keys lie before each position."""
        given = [self.key(p) for p in positions if p is not None]
        wanted = pl.Series(given, dtype=self.keys.dtype)
        found = iter(self.distinct.search_sorted(wanted, side(self.coordinates)))
        return [0 if p is None else next(found) for p in positions]

    @cached_property
    def distinct(self) -> pl.Series:
        """Each key once, sorted."""
        return self.keys.filter(firsts(self.keys))

    def key(self, position: Position) -> int | str:
        """Return the position as a key."""
        return of(position, self.coordinates)


def keys(frame: pl.LazyFrame, coordinates: Coordinates, beside: Sequence[str]) -> pl.LazyFrame:
    """Select the columns `beside`, and `key`, which identifies and orders a partition's records."""
    return frame.select(*beside, key=expr(coordinates))


def firsts(ordered: pl.Series) -> pl.Series:
    """Mark the first occurrence of each value in a sorted series."""
    return ordered.ne_missing(ordered.shift(1))


def check(clean: TablePartition, quarantine: TablePartition) -> Iterator[Finding]:
    """Run all checks of one partition."""
    yield from _duplicates(clean, quarantine)
    for held in (clean, quarantine):
        yield from _chain(held)
        yield from _plausible(held)
        yield from _position(held)
        yield from _misplaced(held)
    yield from _counts(clean, clean.today, lambda r: r.clean)
    yield from _counts(quarantine, quarantine.today, lambda r: r.quarantined)
    yield from _behind(clean, quarantine)


def _duplicates(clean: TablePartition, quarantine: TablePartition) -> Iterator[Finding]:
    """Check that each record is stored once."""
    together = pl.concat([clean.keys, quarantine.keys]).sort()
    double = together.filter(~firsts(together))
    if double.is_empty():
        return
    where = f"{clean.table} and {quarantine.table} together"
    yield Finding(
        FindingKind.DUPLICATE,
        clean.partition,
        f"{double.len()} rows too many in {where}, the first is {double[0]}",
    )


def _chain(held: TablePartition) -> Iterator[Finding]:
    """Check that each commit starts where the previous one ended."""
    for before, after in pairwise(held.ranges):
        if after.start != before.end:
            yield Finding(
                FindingKind.LEDGER,
                held.partition,
                f"{held.table}: a commit ends at {text(before.end)}, the next starts at "
                f"{text(after.start)}",
            )


def _plausible(held: TablePartition) -> Iterator[Finding]:
    """Check that no range has more records than offsets, or more rows than records taken."""
    for r in held.ranges:
        start = r.start.number if r.start else 0
        room = r.end.number - start - r.expired if held.coordinates.sub is None else r.read
        doubled = r.clean + r.quarantined > r.read - r.left_out
        if r.read <= room and not doubled:
            continue
        said = (
            f"{held.table}: a commit made {r.clean} clean and {r.quarantined} quarantined rows of "
            f"{r.read - r.left_out} records between {text(r.start)} and {text(r.end)}"
        )
        cause = ": the transform doubled records" if doubled else ""
        yield Finding(
            FindingKind.TRANSFORM if doubled else FindingKind.LEDGER, held.partition, said + cause
        )


def _position(held: TablePartition) -> Iterator[Finding]:
    """Check that ledger and rows end at the stored position."""
    position, ranges = held.position, held.ranges
    if ranges and position != ranges[-1].end:
        yield Finding(
            FindingKind.POSITION,
            held.partition,
            f"{held.table}: the position is {text(position)}, the last commit ended at "
            f"{text(ranges[-1].end)}",
        )
    beyond = held.distinct.len() - held.read_before([position])[0]
    if beyond:
        yield Finding(
            FindingKind.POSITION,
            held.partition,
            f"{held.table}: {beyond} rows lie beyond the position {text(position)}",
        )


def _misplaced(held: TablePartition) -> Iterator[Finding]:
    """Check that each amendment is of a commit's range."""
    for own in held.misplaced:
        yield Finding(
            FindingKind.LEDGER,
            held.partition,
            f"{held.table}: a replacement amended {text(own.start)} to {text(own.end)}, which is no"
            " part of a commit",
        )


def _counts(
    held: TablePartition,
    ranges: Sequence[CommitRange],
    expected: Callable[[CommitRange], int],
    lost: Callable[[CommitRange], int] = lambda _: 0,
) -> Iterator[Finding]:
    """Compare the rows of each range with the count in the ledger, less those that are `lost`.

    Duplicates count once.
    """
    starts = held.read_before([r.start for r in ranges])
    ends = held.read_before([r.end for r in ranges])
    for r, first, last in zip(ranges, starts, ends, strict=True):
        rows, wanted = last - first, expected(r)
        if not 0 <= wanted - rows <= lost(r):
            yield Finding(
                FindingKind.MISSING if rows < wanted else FindingKind.SURPLUS,
                held.partition,
                f"{held.table}: {rows} rows instead of {wanted} between {text(r.start)} and "
                f"{text(r.end)}",
            )


def _behind(clean: TablePartition, quarantine: TablePartition) -> Iterator[Finding]:
    """Check that the quarantine has the rejects of the clean table's commits.

    After a crash between both commits the quarantine is behind: it reads those records again.
    """
    done = [r for r in clean.today if reaches(quarantine.position, r.end)]
    owed = sum(r.quarantined for r in clean.today) - sum(r.quarantined for r in done)
    if owed:
        yield Finding(
            FindingKind.BEHIND,
            clean.partition,
            f"{quarantine.table}: {owed} rows are not there yet, it is at "
            f"{text(quarantine.position)}",
        )
    yield from _counts(
        quarantine, done, lambda r: r.quarantined, lambda r: _expired_within(r, quarantine)
    )


def lost_rejects(clean: TablePartition, quarantine: TablePartition) -> int:
    """Count the rejects whose records expired before the quarantine had them."""
    ranges = [r for r in clean.today if _expired_within(r, quarantine)]
    starts = quarantine.read_before([r.start for r in ranges])
    ends = quarantine.read_before([r.end for r in ranges])
    held = [last - first for first, last in zip(starts, ends, strict=True)]
    return sum(max(0, r.quarantined - n) for r, n in zip(ranges, held, strict=True))


def _expired_within(r: CommitRange, quarantine: TablePartition) -> int:
    """Count the offsets of the clean table's range that expired before the quarantine read them."""
    start = r.start.number if r.start else 0
    gaps = quarantine.gaps
    return sum(max(0, min(r.end.number, end) - max(start, begin)) for begin, end in gaps)


def text(position: Position | None) -> str:
    """Return the position for a message."""
    if position is None:
        return "the start"
    return f"{position.number}.{position.sub}" if position.sub else str(position.number)
