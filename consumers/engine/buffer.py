"""Records that were read and are not in a batch yet, and when they are due."""

from collections.abc import Collection

from consumers.engine.limits import Limits
from core.batch import Partition, Records
from core.slices import undecoded

RUSH_S = 1.0  # after a start or a full batch: what came need not wait for more records


class Buffer:
    """Due when full, when its oldest record is `max_wait` old, or at the end of a backlog.

    Every `now` is a reading of the monotonic clock, in seconds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: list[Records] = []
        self._since = self._rush_until = 0.0

    def __bool__(self) -> bool:
        return bool(self._held)

    @property
    def nbytes(self) -> int:
        """Bytes of the records."""
        return sum(records.nbytes for records in self._held)

    @property
    def undecoded(self) -> int:
        """Bytes that the records take up to the end of their decoding."""
        return undecoded(self.nbytes, self._rows())

    def add(self, records: Records, asked: float) -> None:
        """Hold what a poll brought that began at `asked`: the oldest record may be as old."""
        if not self._held:
            self._since = asked
        self._held.append(records)

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget what is held of these."""
        kept = [records.without(partitions) for records in self._held]
        self._held = [records for records in kept if records.spans or records.notes]

    def take(self, now: float) -> list[Records]:
        """Return what is held, and hold nothing; after a full batch, more of a backlog may come."""
        self._rush_until = now + RUSH_S if self.is_full else 0.0
        taken, self._held = self._held, []
        return taken

    def rush(self, now: float) -> None:
        """Expect a backlog: what comes before a poll that brings nothing need not wait."""
        self._rush_until = now + RUSH_S

    def is_rushing(self, now: float) -> bool:
        """Whether a backlog is expected."""
        return now < self._rush_until

    def is_due(self, now: float, *, came: bool) -> bool:
        """Whether to hand over now; `came`: the last poll brought records."""
        return bool(self._held) and (
            self.left(now) <= 0 or self.is_full or (self.is_rushing(now) and not came)
        )

    def left(self, now: float) -> float:
        """Return the seconds that the oldest record may still wait; all of them without one."""
        return self._limits.max_wait - (now - self._since if self._held else 0.0)

    @property
    def is_full(self) -> bool:
        """Whether there are enough records or bytes for a batch."""
        enough = self._rows() >= self._limits.max_records
        return enough or self.nbytes >= self._limits.max_bytes

    def _rows(self) -> int:
        return sum(records.frame.height for records in self._held)
