"""The stretch of time that a bounded Kinesis source gives."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from consumers.window import TIME as ARRIVAL
from consumers.window import between

# Arrival times of a shard are not quite in order: this much later than its end, all is in.
SKEW = timedelta(seconds=5)


@dataclass(frozen=True)
class Window:
    """Records that arrived in [since, until), aware datetimes.

    Without `until` it ends at what had arrived when the source was opened.
    """

    since: datetime | None = None
    until: datetime | None = None

    def passed_by(self, answer: pl.DataFrame, behind: int, opened: datetime) -> bool:
        """Whether nothing of the window follows `answer`, which is `behind` ms from the tip."""
        if answer.is_empty():
            return not behind
        arrived: datetime = answer.item(-1, ARRIVAL)
        return arrived >= (self.until or opened) + SKEW

    def head(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows` up to the last before `until`: a later replay with a later end reads on there."""
        if self.until is None:
            return rows
        before = (rows[ARRIVAL] < self.until).arg_true()
        return rows.head(before[-1] + 1 if len(before) else 0)

    def inside(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of the window."""
        return between(rows, self.since, self.until)
