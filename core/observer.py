"""What the loop of one pipeline tells about itself, for metrics, health, logs and pages."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from core.batch import Batch, Partition, Position, Positions, Records
from core.clock import Clock
from core.errors import StalePosition
from core.retry import Outage

NEVER = datetime.min.replace(tzinfo=UTC)  # the source responded, and proved no moment yet
FOREVER = datetime.max.replace(tzinfo=UTC)  # nothing can arrive any more


@dataclass(frozen=True, slots=True)
class Horizon:
    """Where a partition ended, and when: all that arrived until `until` lies before `position`.

    Kafka: `position` is the partition's end and `begin` its first offset. Kinesis does not tell
    the end: `position` is what a response reached, `until` its time less MillisBehindLatest;
    Position(0) where no record was there to be read, which a sink without a position has too. A
    closed shard of which every record was read has `FOREVER`, once; `NEVER` claims nothing.
    """

    position: Position
    until: datetime
    begin: int | None = None


class Observer(Protocol):
    """Hears what one pipeline does. Every method returns at once and raises nothing.

    `turned`, `assigned`, `revoked`, `started`, `reached`, `read` and `overtaken` are called from
    the loop's thread, `committed` and `wrote` from the thread that writes.
    """

    def outage(self, part: str) -> Outage:
        """Make what hears of the transient faults of the source, or of one sink."""
        ...

    def turned(self, held: int) -> None:
        """Hear that the loop polls, at least every few seconds.

        `held`: bytes of the records that were read and are not acknowledged yet.
        """
        ...

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Hear of partitions that the process takes over."""
        ...

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Hear of partitions that the process gives up."""
        ...

    def started(self, positions: Positions) -> None:
        """Hear that partitions are read from there: the minimum over the sinks."""
        ...

    def reached(self, horizons: Mapping[Partition, Horizon]) -> None:
        """Hear where partitions end, from a response of the source; often empty."""
        ...

    def read(self, records: Records) -> None:
        """Hear of records that were polled and buffered."""
        ...

    def committed(self, sink: str, seconds: float) -> None:
        """Hear that one sink has committed a batch, and how long that took, retries included."""
        ...

    def wrote(self, batch: Batch) -> None:
        """Hear of a batch that every sink has committed."""
        ...

    def overtaken(self, stale: StalePosition) -> None:
        """Hear that another writer of the same partitions was faster."""
        ...


class Unobserved:
    """An `Observer` that hears nothing but, in `wrote`, of batches."""

    def __init__(self, clock: Clock, wrote: Callable[[Batch], None] = lambda _: None) -> None:
        self._clock = clock
        self._wrote = wrote

    def outage(self, part: str) -> Outage:
        """Make an outage that is only logged."""
        return Outage(part, self._clock)

    def turned(self, held: int) -> None:
        """Ignore it."""

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Ignore it."""

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Ignore it."""

    def started(self, positions: Positions) -> None:
        """Ignore it."""

    def reached(self, horizons: Mapping[Partition, Horizon]) -> None:
        """Ignore it."""

    def read(self, records: Records) -> None:
        """Ignore it."""

    def committed(self, sink: str, seconds: float) -> None:
        """Ignore it."""

    def wrote(self, batch: Batch) -> None:
        """Hand the batch on."""
        self._wrote(batch)

    def overtaken(self, stale: StalePosition) -> None:
        """Ignore it."""


class Observers:
    """Several observers as one; the first makes the outages."""

    def __init__(self, first: Observer, *others: Observer) -> None:
        self._first = first
        self._all = (first, *others)

    def outage(self, part: str) -> Outage:
        """Make the outage of the first."""
        return self._first.outage(part)

    def turned(self, held: int) -> None:
        """Tell all."""
        for one in self._all:
            one.turned(held)

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Tell all."""
        for one in self._all:
            one.assigned(partitions)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Tell all."""
        for one in self._all:
            one.revoked(partitions)

    def started(self, positions: Positions) -> None:
        """Tell all."""
        for one in self._all:
            one.started(positions)

    def reached(self, horizons: Mapping[Partition, Horizon]) -> None:
        """Tell all."""
        for one in self._all:
            one.reached(horizons)

    def read(self, records: Records) -> None:
        """Tell all."""
        for one in self._all:
            one.read(records)

    def committed(self, sink: str, seconds: float) -> None:
        """Tell all."""
        for one in self._all:
            one.committed(sink, seconds)

    def wrote(self, batch: Batch) -> None:
        """Tell all."""
        for one in self._all:
            one.wrote(batch)

    def overtaken(self, stale: StalePosition) -> None:
        """Tell all."""
        for one in self._all:
            one.overtaken(stale)
