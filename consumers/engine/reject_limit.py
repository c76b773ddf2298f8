"""The limit on rejects: when most records are bad, the schema changed, not the data."""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import structlog

from core.batch import Batch, Rejects
from core.errors import TooManyRejects

_NONE = Rejects(0, 0)
_log = structlog.get_logger()


class _Part(NamedTuple):
    """A batch, or what a batch of an earlier process left in the table."""

    records: int
    rejected: int
    before: bool


class RejectWatch:
    """Counts the rejects among the last `window` records, those of earlier processes included.

    With `accept` it lets all through until a whole window is within the limit; what it let through
    counts for nobody later.
    """

    def __init__(self, ratio: float, window: int, *, accept: bool = False) -> None:
        self._ratio = ratio
        self._window = window
        self._accepting = accept
        self._recent: deque[_Part] = deque()
        self._seen = 0

    def remember(self, windows: Iterable[Rejects]) -> None:
        """Count what the tables say was read before, oldest first."""
        if self._accepting:
            return
        for window in windows:
            self._add(_Part(*window, before=True))

    def forget(self) -> None:
        """Count afresh: what was counted last is read again."""
        self._recent.clear()
        self._seen = 0

    def check(self, batch: Batch) -> Batch:
        """The batch with its `window`; TooManyRejects, before it is written, beyond the limit."""
        records = sum(span.records for span in batch.spans.values())
        self._add(_Part(records, batch.rejected.height, before=False))
        bad = sum(part.rejected for part in self._recent)
        within = bad <= self._ratio * self._seen
        if self._accepting and within and self._seen >= self._window:
            self._accepting = False
            _log.warning("reject_limit_holds_again", records=self._seen, rejected=bad)
        if self._accepting:
            return replace(batch, window=_NONE)
        if self._seen >= self._window and not within:
            raise self._refused(batch, bad)
        return replace(batch, window=Rejects(self._seen, bad))

    def _add(self, part: _Part) -> None:
        self._recent.append(part)
        self._seen += part.records
        while self._seen - self._recent[0].records >= self._window:
            self._seen -= self._recent.popleft().records

    def _refused(self, batch: Batch, bad: int) -> TooManyRejects:
        where = ", ".join(f"{p} up to {span.end.number}" for p, span in batch.spans.items())
        reasons = batch.rejected["reason"].value_counts(sort=True).head(3).rows()
        before = sum(part.records for part in self._recent if part.before)
        return TooManyRejects(
            f"{bad} of the last {self._seen} records were rejected"
            + (f", {before} of them read before this start" if before else "")
            + f" ({where}): "
            + ", ".join(f"{n} times {reason}" for reason, n in reasons),
            "did the producers change their schema? Nothing of this batch is written; a restart "
            "stops here again. Look at pinpip quarantine list, then fix schema or transform, or "
            "let the rejects through once: pinpip consume PIPELINE --accept-rejects",
        )
