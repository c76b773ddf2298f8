"""What a process has counted of one pipeline since its start."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from core import metrics
from core.batch import Batch

OUTCOMES = ("clean", "quarantined", "filtered", "expired")


@dataclass
class Buckets:
    """A histogram: how many values were at most each of the upper `bounds`, and their sum."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass
class Totals:
    """What was counted since the start."""

    outcomes: Counter[str] = field(default_factory=Counter)
    read_bytes: int = 0
    batches: int = 0
    conflicts: int = 0
    rebalances: int = 0
    retries: Counter[tuple[str, str]] = field(default_factory=Counter)
    batch_records: Buckets = field(default_factory=lambda: Buckets(metrics.BATCH_RECORDS.buckets))
    commit_seconds: dict[str, Buckets] = field(default_factory=dict)
    upkeep_turns: Counter[str] = field(default_factory=Counter)
    upkeep_files: Counter[str] = field(default_factory=Counter)

    @property
    def records(self) -> int:
        """How many records were committed, whatever became of them."""
        return sum(self.outcomes[o] for o in ("clean", "quarantined", "filtered"))

    def count(self, batch: Batch) -> None:
        """Count a batch that every sink has committed."""
        read, clean, quarantined = batch.raw.height, batch.clean.height, batch.rejected.height
        read += 0 if batch.left_out is None else batch.left_out.height
        self.outcomes["clean"] += clean
        self.outcomes["quarantined"] += quarantined
        self.outcomes["filtered"] += max(0, read - clean - quarantined)
        self.outcomes["expired"] += sum(s.expired(s.start) for s in batch.spans.values())
        self.batches += 1
        self.batch_records.add(read)

    def upkept(self, merged: int, removed: int) -> None:
        """Count what one turn of the upkeep did to a table."""
        self.upkeep_files.update(merged=merged, removed=removed)

    def time(self, sink: str, seconds: float) -> None:
        """Count the time that a batch took in one sink."""
        own = self.commit_seconds
        own.setdefault(sink, Buckets(metrics.COMMIT_SECONDS.buckets)).add(seconds)
