"""Which rejected records are worth a line of the log: the first of a reason, then one an hour."""

from dataclasses import dataclass
from typing import Any

from core.batch import Batch, Coordinates
from core.clock import Clock

AGAIN_AFTER_S = 3600.0
REASONS = 50  # beyond it a transform makes reasons up: the minute's line counts them


@dataclass
class _Told:
    at: float
    rows: int = 0


class FirstRejects:
    """The reasons that were told, and how many rows followed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[str, _Told] = {}

    def add(self, batch: Batch) -> list[dict[str, Any]]:
        """Count the batch's rejects; return the fields of a line for each reason that is due.

        `rows`: the rejects of that reason since its last line, this batch's included.
        """
        due = []
        for (reason,), rows in batch.rejected.group_by("reason", maintain_order=True):
            name, now = str(reason), self._clock.monotonic()
            told = self._told.get(name)
            if told is None and len(self._told) >= REASONS:
                continue
            if told is None or now - told.at >= AGAIN_AFTER_S:
                first = rows.row(0, named=True)
                so_far = (told.rows if told else 0) + rows.height
                due.append({"reason": name, "rows": so_far, **_where(first, batch.coordinates)})
                self._told[name] = _Told(now)
            else:
                told.rows += rows.height
        return due


def _where(row: dict[str, Any], names: Coordinates) -> dict[str, Any]:
    """Return a record's coordinates, named as its columns are, and what is wrong with it."""
    return {
        **{column.removeprefix("_"): row[column] for column in names.identity},
        "detail": row["detail"],
    }
