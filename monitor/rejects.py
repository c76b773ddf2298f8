"""What a process has quarantined since its start: counts by reason, and the newest few records."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from core.batch import VALUE, Batch, Coordinates
from monitor.view import ReasonView, Sample

SAMPLES = 3
REASONS = 50  # beyond it a transform makes reasons up: they are counted together
OTHER = "other"
SHOWN_BYTES = 200


@dataclass
class _Kept:
    last: datetime | None = None
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=SAMPLES))


class RejectMemory:
    """The rejects of the batches that every sink has committed."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._kept: dict[str, _Kept] = {}

    def add(self, batch: Batch, now: datetime) -> None:
        """Count the rejects of a batch, and keep the newest of each reason."""
        for (reason,), rows in batch.rejected.group_by("reason", maintain_order=True):
            name = self._name(str(reason))
            self.counts[name] += rows.height
            kept = self._kept.setdefault(name, _Kept())
            kept.last = now
            kept.samples.extend(samples(rows.tail(SAMPLES), batch.coordinates))

    @property
    def top(self) -> str:
        """The reason of most rejects; empty without any."""
        return next((reason for reason, _ in self.counts.most_common(1)), "")

    def views(self) -> tuple[ReasonView, ...]:
        """Return the reasons, that of most rejects first, and their newest records first."""
        return tuple(
            ReasonView(reason, rows, kept.last, tuple(reversed(kept.samples)))
            for reason, rows in self.counts.most_common()
            for kept in [self._kept[reason]]
        )

    def _name(self, reason: str) -> str:
        return reason if reason in self.counts or len(self.counts) < REASONS else OTHER


def samples(rows: pl.DataFrame, coordinates: Coordinates) -> list[Sample]:
    """Return rejected rows (coordinates, `detail`, `_value` or its start) for the page."""
    return [sample(row, coordinates) for row in rows.iter_rows(named=True)]


def sample(row: Mapping[str, Any], coordinates: Coordinates) -> Sample:
    """Return one rejected row; its place is written as `pinpip inspect --offset` takes it.

    Neither detail nor value: they were not read.
    """
    detail, value = row["detail"], row[VALUE]
    shown = "" if detail is None and value is None else printable(value)
    return Sample(place(row, coordinates), printable((detail or "").encode()), shown)


def place(row: Mapping[str, Any], coordinates: Coordinates) -> str:
    """Return where a record is, as `pinpip inspect --offset` takes it."""
    number = str(row[coordinates.number])
    if coordinates.sub is not None:
        number = f"{number.lstrip('0') or '0'}.{row[coordinates.sub]}"
    return f"{row[coordinates.source]}/{row[coordinates.partition]}:{number}"


def printable(value: bytes | None) -> str:
    """Return the start of a record's value as text of one line; other characters are escaped."""
    if value is None:
        return "(no value)"
    text = value[:SHOWN_BYTES].decode(errors="backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown + "…" * (len(value) > SHOWN_BYTES)
