"""Which records a replacement is about."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from core.batch import Coordinates, Partition, Position
from sinks.delta import keys
from sinks.delta.scan import Ends

_TIME = "_timestamp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What a reader at `start` (None: at the first record) reads until it is at `end`."""

    source: str
    partition: str
    start: Position | None
    end: Position

    @property
    def of(self) -> Partition:
        """The partition of the range."""
        return Partition(self.source, self.partition)


class Selection(BaseModel):
    """The records of `ranges`, which do not overlap; of these the ones in [since, until).

    Times are the broker's timestamps. As JSON it is part of the log, read for ever.
    """

    model_config = ConfigDict(frozen=True)
    ranges: tuple[Records, ...]
    since: datetime | None = None
    until: datetime | None = None

    def picked(self, rows: pl.DataFrame, coordinates: Coordinates) -> pl.Series:
        """Return which of the rows are of these records."""
        picked = pl.repeat(value=False, n=rows.height, dtype=pl.Boolean, eager=True)
        keyed = rows.select(keys.expr(coordinates)).to_series()
        for partition, own in self._by_partition.items():
            mine = rows.select(coordinates.of(partition)).to_series()
            if mine.any():
                picked |= mine & _within(keyed, own, coordinates)
        return picked if self.since is self.until is None else picked & self._in_time(rows)

    @property
    def hull(self) -> Mapping[Partition, Ends]:
        """The first start and the last end of each partition."""
        return {p: (own[0].start, own[-1].end) for p, own in self._by_partition.items()}

    @cached_property
    def _by_partition(self) -> Mapping[Partition, Sequence[Records]]:
        """The ranges of each partition, in order."""
        found: dict[Partition, list[Records]] = defaultdict(list)
        for own in sorted(self.ranges, key=lambda r: r.end):
            found[own.of].append(own)
        return found

    def _in_time(self, rows: pl.DataFrame) -> pl.Series:
        at = rows[_TIME]
        since = at >= self.since if self.since is not None else at.is_not_null()
        return since & (at < self.until) if self.until is not None else since


def _within(keyed: pl.Series, own: Sequence[Records], coordinates: Coordinates) -> pl.Series:
    """Return which keys are in one of the ranges: more of them begin before it than end."""
    side: Literal["left", "right"] = "right" if coordinates.sub is None else "left"
    least = keys.least(coordinates)
    starts = [least if r.start is None else keys.of(r.start, coordinates) for r in own]
    ends = [keys.of(r.end, coordinates) for r in own]
    begun, ended = (
        pl.Series(at, dtype=keyed.dtype).search_sorted(keyed, side) for at in (starts, ends)
    )
    return begun > ended


def of_records(rows: Iterable[pl.DataFrame], coordinates: Coordinates) -> Selection:
    """Return the selection of single records, by the coordinates in `rows`; neighbours are one."""
    c = coordinates
    found: set[tuple[Partition, Position, Position]] = set()
    for frame in rows:
        for source, id_, number, *sub in frame.select(c.identity).iter_rows():
            own = sub[0] if sub else None
            found.add((Partition(source, str(id_)), c.before(number, own), c.after(number, own)))
    ranges: list[Records] = []
    for partition, start, end in sorted(found):
        joins = bool(ranges) and (ranges[-1].of, ranges[-1].end) == (partition, start)
        first = ranges.pop().start if joins else start
        ranges.append(
            Records(source=partition.source, partition=partition.id, start=first, end=end)
        )
    return Selection(ranges=tuple(ranges))
