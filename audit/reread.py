"""Read the source again and compare it with the content of the sinks."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, Protocol

import polars as pl

from audit.earlier import as_stored
from audit.invariants import Finding, FindingKind
from audit.row_diff import MAX_EXAMPLES, RowDifference, compare
from core.batch import Batch, Coordinates, Partition, Position, Span, Stretch
from core.sinks import AtOnce, WithoutHistory


class StoredRows(Protocol):
    """A table or an archive that stores one frame of each batch."""

    @property
    def name(self) -> str:
        """The URI."""
        ...

    @property
    def stage(self) -> Literal["raw", "clean", "rejected"]:
        """The frame of the batch that it stores."""
        ...

    def begin(self, partition: Partition) -> Position | None:
        """Return the position before which it no longer stores the records; None: it stores all."""
        ...

    def end(self, partition: Partition) -> Position | None:
        """Return the position up to which it stores the source's records; None: it stores none."""
        ...

    def rows(self, stretches: Mapping[Partition, Stretch]) -> pl.DataFrame:
        """Return the rows of the ranges."""
        ...


Held = tuple[StoredRows, dict[Partition, Stretch], pl.DataFrame]


class Comparison(AtOnce, WithoutHistory):
    """A core.protocols.Sink that compares each batch with the stored rows instead of writing it.

    `starts`: from where each partition is compared; None: from the source's first record. `skips`:
    where reading other partitions may begin; they are not compared. A partition is done at the end
    of the stored rows, or after `limit` records. `compacted`: sources that remove single records
    (compacted topics): rows without a record are not a finding there. `earlier`: makes of a batch
    with values what an earlier release made of it; a record may be stored so. Memory: one batch,
    and its stored rows.
    """

    name = "comparison"

    def __init__(
        self,
        stored: Sequence[StoredRows],
        starts: Mapping[Partition, Position | None],
        coordinates: Coordinates,
        *,
        skips: Mapping[Partition, Position] | None = None,
        limit: int | None = None,
        compacted: Collection[str] = (),
        earlier: Callable[[Batch], Batch] | None = None,
    ) -> None:
        self.records = 0
        self.rows: Counter[str] = Counter()
        self._stored = stored
        self._next = {**(skips or {}), **starts}
        self._coordinates = coordinates
        self._limit = limit
        self._compacted = compacted
        self._earlier = earlier
        self._ends = {p: _last(rows.end(p) for rows in stored) for p in starts}
        self._read: Counter[Partition] = Counter()
        self._counts: Counter[tuple[str, Partition, FindingKind]] = Counter()
        self._examples: dict[tuple[str, Partition, FindingKind], list[str]] = defaultdict(list)

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """Return where the comparison continues."""
        return {p: self._next.get(p) for p in partitions}

    def write(self, batch: Batch) -> None:
        """Compare the batch; raises SinkError when stored rows cannot be read."""
        starts = {p: self._start(batch, p, span) for p, span in batch.spans.items()}
        stretches = {
            p: Stretch(start, batch.spans[p].end)
            for p, start in starts.items()
            if start is not None and p in self._ends
        }
        for name, difference in self._differences(batch, stretches):
            self._note(name, difference)
        for partition, span in batch.spans.items():
            self._next[partition] = span.end
            self._read[partition] += span.records
        self.records += sum(batch.spans[p].records for p in stretches)

    def close(self) -> None:
        """Do nothing: no write is deferred."""

    def skip(self, firsts: Mapping[Partition, Position]) -> None:
        """Advance to the source's first records, never back."""
        for partition, first in firsts.items():
            position = self._next.get(partition)
            if position is not None and position < first:
                self._next[partition] = first

    @property
    def done(self) -> bool:
        """Whether the comparison of every partition is finished."""
        return all(map(self.is_done, self._ends))

    def is_done(self, partition: Partition) -> bool:
        """Return whether the comparison of the partition is finished."""
        end = self._ends[partition]
        if end is None or (self._limit is not None and self._read[partition] >= self._limit):
            return True
        position = self._next[partition]
        return position is not None and position >= end

    def findings(self) -> list[Finding]:
        """Return the differences."""
        return [
            Finding(kind, partition, f"{name}: {_message(kind, rows, self._examples[found])}")
            for found, rows in sorted(self._counts.items())
            for name, partition, kind in [found]
        ]

    def _start(self, batch: Batch, partition: Partition, span: Span) -> Position | None:
        """Return where the batch's range of `partition` begins; None: there is nothing to compare.

        Kinesis does not report where a shard begins: that is its first record.
        """
        is_known = self._coordinates.sub is None or self._read[partition]
        if is_known and span.start is not None:
            return span.start
        c, names = self._coordinates, self._coordinates.identity
        read = [batch.raw] if batch.left_out is None else [batch.raw, batch.left_out]
        firsts = (frame.filter(c.of(partition)).select(names).head(1) for frame in read)
        begins = [c.before(r[2], r[3] if r[3:] else None) for f in firsts for r in f.iter_rows()]
        return min(begins, default=None)

    def _differences(
        self, batch: Batch, stretches: Mapping[Partition, Stretch]
    ) -> list[tuple[str, RowDifference]]:
        """Compare the batch with all stored rows; if they differ, also as decoded earlier."""
        held = [(stored, *self._held(stored, stretches)) for stored in self._stored]
        found = self._compare(batch, held)
        if found and self._earlier is not None:
            tables = {stored.stage: rows for stored, _, rows in reversed(held)}
            if {"clean", "rejected"} <= tables.keys():
                before = self._earlier(batch)
                known = as_stored(batch, before, tables["clean"], tables["rejected"])
                return self._compare(known, held)
        return found

    def _held(
        self, stored: StoredRows, stretches: Mapping[Partition, Stretch]
    ) -> tuple[dict[Partition, Stretch], pl.DataFrame]:
        """Return the ranges that are stored there, and their rows."""
        due = _stored(stored, stretches)
        rows = stored.rows(due)
        left = _stored(stored, stretches)
        if left != due:  # retention removed objects meanwhile
            due, rows = left, rows.filter(self._coordinates.within(left))
        self.rows[stored.name] += rows.height
        return due, rows

    def _compare(self, batch: Batch, held: Sequence[Held]) -> list[tuple[str, RowDifference]]:
        found = []
        for stored, due, rows in held:
            frame: pl.DataFrame = getattr(batch, stored.stage)
            wanted = frame.filter(self._coordinates.within(due))
            differences = compare(wanted, rows, self._coordinates, stored.name)
            found += [(stored.name, difference) for difference in differences]
        return found

    def _note(self, name: str, found: RowDifference) -> None:
        if found.kind is FindingKind.SURPLUS and found.partition.source in self._compacted:
            self.rows[name] -= found.rows
            return
        key = (name, found.partition, found.kind)
        self._counts[key] += found.rows
        self._examples[key] += found.examples[: MAX_EXAMPLES - len(self._examples[key])]


def _stored(stored: StoredRows, stretches: Mapping[Partition, Stretch]) -> dict[Partition, Stretch]:
    """Return what of the ranges is stored there."""
    due: dict[Partition, Stretch] = {}
    for partition, (start, end) in stretches.items():
        first, last = stored.begin(partition), stored.end(partition)
        if start is None or last is None:
            continue
        begin, stop = max(start, first or start), min(end, last)
        if begin < stop:
            due[partition] = Stretch(begin, stop)
    return due


def _last(ends: Iterable[Position | None]) -> Position | None:
    return max((end for end in ends if end is not None), default=None)


def _message(kind: FindingKind, rows: int, examples: Sequence[str]) -> str:
    texts = {
        FindingKind.MISSING: "records of the source are missing",
        FindingKind.SURPLUS: "rows are no records of the source",
        FindingKind.DUPLICATE: "rows too many",
        FindingKind.DIFFERENT: "rows differ from the source",
    }
    return f"{rows} {texts[kind]}: {', '.join(examples)}{', …' if rows > len(examples) else ''}"
