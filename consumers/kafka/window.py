"""Which records of a topic a bounded source gives."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from consumers.window import between


@dataclass(frozen=True)
class Window:
    """Offsets in [first, last) of each partition, timestamps in [since, until), aware datetimes.

    Without `last` it ends where each partition ended when the source was opened. Timestamps need
    not be in order, so the window of time is a filter, and only its start is also sought.
    """

    first: int | None = None
    last: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_timed(self) -> bool:
        """Whether timestamps narrow it."""
        return self.since is not None or self.until is not None

    def inside(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows whose timestamps are in the window."""
        return between(rows, self.since, self.until)
