"""Comparing instead of writing: the source, read again, beside what the sinks hold."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, Protocol

import polars as pl

from audit.invariants import Finding, Kind
from audit.row_diff import EXAMPLES, Difference, compare
from core.batch import Batch, Coordinates, Partition, Position, Span, Stretch
from core.protocols import WithoutHistory


class Holding(Protocol):
    """A table or an archive that a pipeline fills with one frame of each batch."""

    @property
    def name(self) -> str:
        """Where it is."""
        ...

    @property
    def stage(self) -> Literal["raw", "clean", "rejected"]:
        """The frame."""
        ...

    def end(self, partition: Partition) -> Position | None:
        """Up to where it holds all that the source gave; None: nothing."""
        ...

    def rows(self, stretches: Mapping[Partition, Stretch]) -> pl.DataFrame:
        """Read the rows of some ranges."""
        ...


class Comparison(WithoutHistory):
    """A core.protocols.Sink that compares each batch with what the `holdings` have of it.

    `starts`: from where each partition is compared, None from the first record that the source
    still gives; others are not: `skips` says where reading them may begin. A partition is done at
    the holdings' end, or after `most` records. Records of `forgetful` sources vanish from them one
    by one (a compacted topic's do): rows without a record are no finding then. Memory: one batch,
    and what the holdings have of it.
    """

    name = "comparison"

    def __init__(
        self,
        holdings: Sequence[Holding],
        starts: Mapping[Partition, Position | None],
        coordinates: Coordinates,
        *,
        skips: Mapping[Partition, Position] | None = None,
        most: int | None = None,
        forgetful: Collection[str] = (),
    ) -> None:
        self.records = 0
        self.rows: Counter[str] = Counter()
        self._holdings = holdings
        self._next = {**(skips or {}), **starts}
        self._coordinates = coordinates
        self._most = most
        self._forgetful = forgetful
        self._ends = {p: _last(h.end(p) for h in holdings) for p in starts}
        self._read: Counter[Partition] = Counter()
        self._counts: Counter[tuple[str, Partition, Kind]] = Counter()
        self._examples: dict[tuple[str, Partition, Kind], list[str]] = defaultdict(list)

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """Where the comparison goes on."""
        return {p: self._next.get(p) for p in partitions}

    def write(self, batch: Batch) -> None:
        """Compare the batch; raises SinkError when a holding cannot be read."""
        starts = {p: self._start(batch, p, span) for p, span in batch.spans.items()}
        stretches = {
            p: Stretch(start, batch.spans[p].end)
            for p, start in starts.items()
            if start is not None and p in self._ends
        }
        for holding in self._holdings:
            self._compare(holding, batch, stretches)
        for partition, span in batch.spans.items():
            self._next[partition] = span.end
            self._read[partition] += span.records
        self.records += sum(batch.spans[p].records for p in stretches)

    def close(self) -> None:
        """Nothing is put off."""

    def skip(self, firsts: Mapping[Partition, Position]) -> None:
        """Go on no earlier than the source's first records."""
        for partition, first in firsts.items():
            position = self._next.get(partition)
            if position is not None and position < first:
                self._next[partition] = first

    @property
    def done(self) -> bool:
        """Whether every partition was compared as far as it is to be."""
        return all(map(self.is_done, self._ends))

    def is_done(self, partition: Partition) -> bool:
        """Whether it was compared as far as it is to be."""
        end = self._ends[partition]
        if end is None or (self._most is not None and self._read[partition] >= self._most):
            return True
        position = self._next[partition]
        return position is not None and position >= end

    def findings(self) -> list[Finding]:
        """Return what differed."""
        return [
            Finding(kind, partition, f"{name}: {_said(kind, rows, self._examples[found])}")
            for found, rows in sorted(self._counts.items())
            for name, partition, kind in [found]
        ]

    def _start(self, batch: Batch, partition: Partition, span: Span) -> Position | None:
        """Where the batch's stretch of `partition` begins; None when there is none to compare.

        Kinesis does not say where a shard begins by now: it is at the first record that comes.
        """
        told = self._coordinates.sub is None or self._read[partition]
        if told and span.start is not None:
            return span.start
        first = batch.raw.filter(self._coordinates.of(partition)).head(1)
        for row in first.select(self._coordinates.identity).iter_rows():
            return self._coordinates.before(row[2], row[3] if row[3:] else None)
        return None

    def _compare(
        self, holding: Holding, batch: Batch, stretches: Mapping[Partition, Stretch]
    ) -> None:
        due: dict[Partition, Stretch] = {}
        for partition, (start, end) in stretches.items():
            own = holding.end(partition)
            if own is not None and start is not None and start < own:
                due[partition] = Stretch(start, min(end, own))
        held = holding.rows(due)
        frame: pl.DataFrame = getattr(batch, holding.stage)
        wanted = frame.filter(self._coordinates.within(due))
        self.rows[holding.name] += held.height
        for difference in compare(wanted, held, self._coordinates, holding.name):
            self._note(holding.name, difference)

    def _note(self, name: str, found: Difference) -> None:
        if found.kind is Kind.SURPLUS and found.partition.source in self._forgetful:
            self.rows[name] -= found.rows
            return
        key = (name, found.partition, found.kind)
        self._counts[key] += found.rows
        self._examples[key] += found.examples[: EXAMPLES - len(self._examples[key])]


def _last(ends: Iterable[Position | None]) -> Position | None:
    return max((end for end in ends if end is not None), default=None)


def _said(kind: Kind, rows: int, examples: Sequence[str]) -> str:
    what = {
        Kind.MISSING: "records of the source are missing",
        Kind.SURPLUS: "rows are no records of the source",
        Kind.DUPLICATE: "rows too many",
        Kind.DIFFERENT: "rows differ from the source",
    }
    return f"{rows} {what[kind]}: {', '.join(examples)}{', …' if rows > len(examples) else ''}"
