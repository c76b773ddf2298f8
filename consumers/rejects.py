"""The limit on rejects: when most records are bad, the schema changed, not the data."""

from collections import deque

from pinpip.batch import Batch
from pinpip.errors import TooManyRejects


class RejectWatch:
    """Counts the rejects among the last `window` records."""

    def __init__(self, ratio: float, window: int) -> None:
        self._ratio = ratio
        self._window = window
        self._recent: deque[tuple[int, int]] = deque()
        self._seen = 0

    def check(self, batch: Batch) -> None:
        """Raise TooManyRejects, before the batch is written, when the limit is passed."""
        records = sum(span.records for span in batch.spans.values())
        self._recent.append((records, batch.rejected.height))
        self._seen += records
        while self._seen - self._recent[0][0] >= self._window:
            self._seen -= self._recent.popleft()[0]
        bad = sum(rejected for _, rejected in self._recent)
        if self._seen >= self._window and bad > self._ratio * self._seen:
            where = ", ".join(f"{p} up to {span.end.number}" for p, span in batch.spans.items())
            reasons = batch.rejected["reason"].value_counts(sort=True).head(3).rows()
            raise TooManyRejects(
                f"{bad} of the last {self._seen} records were rejected ({where}): "
                + ", ".join(f"{n} times {reason}" for reason, n in reasons),
                "did the producers change their schema? Nothing of this batch is written; "
                "mend the schema, or raise batching.reject_ratio to let it through",
            )
