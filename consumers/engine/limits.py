"""When a batch is due, and when a consumer stops: too many rejects, or too many lost races."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import structlog

from core.batch import Batch, Rejects
from core.errors import SinkError, StalePosition, TooManyRejects

MAX_CONFLICTS = 10
_UNCOUNTED = Rejects(0, 0)
_log = structlog.get_logger()


@dataclass(frozen=True)
class Limits:
    """When a batch is due (records, bytes, seconds), and how many rejects are too many.

    `accept_rejects` accepts any number of rejects until a whole window is within the limit again.
    `max_in_flight`: bytes that batches may hold which were handed over and are not written yet; one
    batch always may be on its way.
    """

    max_records: int
    max_bytes: int
    max_wait: float
    reject_ratio: float
    reject_window: int
    accept_rejects: bool = False
    max_in_flight: int = 64 * 1024 * 1024


class ConflictLimit:
    """Distinguishes a second consumer of the same tables from the overlap of a rebalance.

    A rebalance, or a write whose answer was lost, explains one or two stale positions. Two groups
    that write one table get stale positions for ever. Each write that succeeds counts against one
    conflict; at MAX_CONFLICTS since the last rebalance the process stops.
    """

    def __init__(self) -> None:
        self._conflicts = 0

    def rebalanced(self) -> None:
        """Start to count again: the owner of before may still write."""
        self._conflicts = 0

    def wrote(self) -> None:
        """Count a batch that every sink has written."""
        self._conflicts = max(0, self._conflicts - 1)

    def overtaken(self, stale: StalePosition) -> None:
        """Count a conflict; raise SinkError when there are too many."""
        self._conflicts += 1
        if self._conflicts >= MAX_CONFLICTS:
            raise SinkError(
                f"another consumer keeps writing what this one reads: {stale.message}",
                "do two groups, or one process outside the group, fill the same tables? Stop one, "
                "or give it tables of its own; nothing is lost or doubled",
            )


class _Counted(NamedTuple):
    """A batch, or what the table says of the batches of an earlier process."""

    records: int
    rejected: int
    before: bool


class RejectLimit:
    """The share of rejects among the last `window` records, over restarts of the process.

    When most records are bad, the schema changed, not the data. With `accept`, batches pass until a
    whole window is within the limit; the rejects of those batches are not counted later.
    """

    def __init__(self, ratio: float, window: int, *, accept: bool = False) -> None:
        self._ratio = ratio
        self._window = window
        self._accepting = accept
        self._recent: deque[_Counted] = deque()
        self._seen = 0

    def remember(self, windows: Iterable[Rejects]) -> None:
        """Count what the tables say was read before, oldest first."""
        if self._accepting:
            return
        for window in windows:
            self._add(_Counted(*window, before=True))

    def forget(self) -> None:
        """Start to count again: the records that were counted last are read again."""
        self._recent.clear()
        self._seen = 0

    def check(self, batch: Batch) -> Batch:
        """Return the batch with its `window`; raise TooManyRejects beyond the limit.

        Called before the batch is written.
        """
        others = 0 if batch.left_out is None else batch.left_out.height
        records = sum(span.records for span in batch.spans.values()) - others
        self._add(_Counted(records, batch.rejected.height, before=False))
        bad = sum(part.rejected for part in self._recent)
        within = bad <= self._ratio * self._seen
        if self._accepting and within and self._seen >= self._window:
            self._accepting = False
            _log.warning("reject_limit_holds_again", records=self._seen, rejected=bad)
        if self._accepting:
            return replace(batch, window=_UNCOUNTED)
        if self._seen >= self._window and not within:
            raise self._refused(batch, bad)
        return replace(batch, window=Rejects(self._seen, bad))

    def _add(self, part: _Counted) -> None:
        if not part.records:
            return
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
