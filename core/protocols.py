"""The borders between the rooms: what a source, its listener and a sink promise the loop."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from core.batch import Batch, Coordinates, Partition, Position, Positions, Records, Rejects
from core.clock import Clock
from core.observer import Horizon
from core.origins import Start
from core.topic_id import Known

# What delta-rs and polars need to open a table: called at each opening, since keys expire.
Options = Callable[[], dict[str, str]]

T = TypeVar("T")


class Listener(Protocol):
    """What a source tells the loop about its partitions; called from inside `open` and `poll`.

    Both only take note: a rebalance waits for them.
    """

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Take over partitions; none is read before its first `seek`."""
        ...

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Give partitions up: their buffered records must be dropped."""
        ...


class Source(Protocol):
    """Where records come from. The loop calls it from one thread only."""

    coordinates: Coordinates

    def open(self, listener: Listener) -> None:
        """Connect; `listener` hears of partitions from now on."""
        ...

    def poll(self, timeout: float) -> Records | None:
        """Return the next records, or None when none came within `timeout` seconds.

        Each span starts where the last one of its partition ended, or where `seek` put it (None
        when that said None).
        """
        ...

    def starts(self, sources: Collection[str]) -> Mapping[str, Start]:
        """Where the partitions of these topics or streams may begin at a pipeline's first start.

        None for a bounded source. The one method that another thread may call. Raises
        TransientError while that cannot be told.
        """
        ...

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """Hear what the sinks know of partitions that are sought next.

        A log that is not theirs is refused before anything of it is read: `poll` raises
        TopicRecreated.
        """
        ...

    def seek(self, positions: Positions) -> None:
        """From the next `poll` on, read each partition from its position (None: from its first).

        This starts a partition that was assigned and moves one that runs; those that are not ours
        (any more) are passed over. It may be called from inside `assigned`.
        """
        ...

    def pause(self) -> None:
        """Fetch nothing until `resume`; `poll` still serves the group and hears of partitions.

        What was on its way already may still come.
        """
        ...

    def resume(self) -> None:
        """Fetch again, from where each partition was or was sought to meanwhile."""
        ...

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        """Tell the broker how far the sinks are: a hint for lag tools, never the truth."""
        ...

    def horizons(self) -> Mapping[Partition, Horizon]:
        """Return where partitions end, by the responses since the last call; often empty.

        It sends no request. A partition is left out while its source does not respond.
        """
        ...

    @property
    def exhausted(self) -> bool:
        """Whether a bounded source has given everything; a live one never has."""
        ...

    def close(self) -> None:
        """Leave cleanly."""
        ...


class Prepared(Protocol):
    """What one batch brings to one sink, which nobody can see before it is committed.

    `nbytes`: what it holds in memory now.
    """

    @property
    def nbytes(self) -> int:
        """Bytes; any thread may ask."""
        ...

    def upload(self) -> None:
        """Make it durable. Any thread may do that, beside other uploads of the sink.

        Raises TransientError when the same call may be tried again, FatalError otherwise.
        """
        ...


class Sink(Protocol):
    """Where batches go. Each sink is exactly once by its own positions.

    `prepare` may run beside the other calls. Of these one runs at a time, and `positions` only
    while nothing is prepared that is neither committed nor given up.
    """

    name: str

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """Read again how far this sink is, the only truth; None: it holds nothing.

        Raises PositionLost when rows are there but their position is not.
        """
        ...

    def rejects(self, partitions: Collection[Partition]) -> Sequence[Rejects]:
        """Return the `Batch.window` of the newest commits that moved `partitions`, oldest first.

        To be asked after `positions`. Commits under other rules (schema, transform) are left out;
        none where the sink keeps no windows.
        """
        ...

    def origins(self, partitions: Collection[Partition]) -> Mapping[Partition, Position]:
        """Where the pipeline began, for partitions of sources of which `pin` has told.

        To be asked after `positions`; see `Known.origin`.
        """
        ...

    def tips(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """When each partition was last read to its end (see `Note`), as far as this sink keeps it.

        To be asked after `positions`.
        """
        ...

    def gaps(self, partitions: Collection[Partition]) -> Mapping[Partition, range]:
        """Return the newest accepted gap of each partition that this sink has recorded, if any.

        To be asked after `positions`; see `Known.gaps`.
        """
        ...

    def pin(self, starts: Mapping[str, Start]) -> None:
        """Fix in one commit where the pipeline begins to read these sources, if this sink keeps it.

        Raises StalePosition when another member has done so.
        """
        ...

    def arrivals(self, partitions: Collection[Partition]) -> Mapping[Partition, datetime]:
        """When the newest row of each partition arrived at the source.

        Only where the arrival tells which life of a log it was of: on Kinesis.
        """
        ...

    def prepare(self, batch: Batch) -> Prepared:
        """Take the batch's rows beyond what was prepared before; called in the batches' order.

        It sends no request. Raises StalePosition when the batch does not follow.
        """
        ...

    def commit(self, prepared: Sequence[Any]) -> None:
        """Make uploaded batches visible, and their positions with them; in order, all or none.

        Raises StalePosition when another writer has moved a position since `positions` or the last
        commit, or when a batch before these was not committed; TransientError when the same call
        may be tried again, FatalError otherwise.
        """
        ...

    def write(self, batch: Batch) -> None:
        """Prepare, upload and commit one batch; after an error the same call may be tried again."""
        ...

    def release(self, partitions: Collection[Partition]) -> None:
        """Forget what was deferred of partitions that another member may write from now on."""
        ...

    @property
    def is_overdue(self) -> bool:
        """Whether a deferred commit has waited as long as it may."""
        ...

    def settle(self) -> None:
        """Commit what was deferred. Raises as `commit`."""
        ...

    def close(self) -> None:
        """Commit what was deferred, except for partitions that another writer has moved."""
        ...


class FaultInjector(Protocol):
    """Wraps the parts of a pipeline so that they fail on purpose; without one nothing is wrapped.

    Each method returns a part with the same interface as the one that it receives.
    """

    def clock(self, clock: Clock) -> Clock:
        """Wrap the clock of the process."""
        ...

    def source(self, source: Source) -> Source:
        """Wrap the source, and with it the listener that it is opened with."""
        ...

    def sink(self, sink: Sink) -> Sink:
        """Wrap one sink; its name says which one."""
        ...

    def store(self, name: str, store: T) -> T:
        """Wrap the object store behind the sink `name`."""
        ...
