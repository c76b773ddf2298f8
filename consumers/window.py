"""Which records a bounded source gives."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

TIME = "_timestamp"
# Arrival times of a shard are not quite in order: this much after its end, all is in.
SKEW = timedelta(seconds=5)


@dataclass(frozen=True)
class Window:
    """Offsets in [first, last) of each partition, times in [since, until), aware datetimes.

    Kafka's times are timestamps: they need not be in order, so the range of time is a filter, and
    only its start is also sought. Kinesis has arrival times and no offsets. Without `last` and
    `until` the window ends where each partition ended when the source was opened.
    """

    first: int | None = None
    last: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_timed(self) -> bool:
        """Whether times narrow it."""
        return self.since is not None or self.until is not None

    @property
    def is_unbounded(self) -> bool:
        """Whether it is all that the source holds now."""
        return self == Window()

    def inside(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows whose times are in the window."""
        if self.since is not None:
            rows = rows.filter(pl.col(TIME) >= self.since)
        return rows if self.until is None else rows.filter(pl.col(TIME) < self.until)

    def head(self, arrived: pl.DataFrame) -> pl.DataFrame:
        """Return `arrived` up to the last before `until`: a later end resumes there."""
        if self.until is None:
            return arrived
        before = (arrived[TIME] < self.until).arg_true()
        return arrived.head(before[-1] + 1 if len(before) else 0)

    def passed_by(self, arrived: pl.DataFrame, behind: int, opened: datetime) -> bool:
        """Return whether nothing of the window follows `arrived`, which ends `behind` ms ago."""
        if arrived.is_empty():
            return not behind
        last: datetime = arrived.item(-1, TIME)
        return last >= (self.until or opened) + SKEW
