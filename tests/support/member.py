"""One consumer process in memory, stepped by the test."""

from collections.abc import Callable, Sequence

from consumers.engine.limits import Limits
from consumers.engine.loop import Loop
from core.batch import Batch, Partition, Records
from core.protocols import Source
from tests.support.clock import ManualClock
from tests.support.memory import (
    LazyExecutor,
    MemoryBroker,
    MemorySink,
    MemorySource,
    MemoryTable,
    process,
)

STAGES = ("clean", "rejected", "left_out")
P0, P1 = Partition("pin", "0"), Partition("pin", "1")
LIMITS = Limits(
    max_records=5, max_bytes=1_000_000, max_wait=1.0, reject_ratio=0.5, reject_window=10
)


class Member:
    """A source, a loop and its sinks on shared tables."""

    def __init__(
        self,
        broker: MemoryBroker,
        tables: Sequence[MemoryTable],
        limits: Limits = LIMITS,
        kinds: Sequence[type[MemorySink]] = (MemorySink, MemorySink),
        work: Callable[[Records], Batch] = process,
    ) -> None:
        self.clock = ManualClock()
        self.executor = LazyExecutor()
        self.source = MemorySource(broker)
        self.sinks = [
            kind(table, stage) for table, stage, kind in zip(tables, STAGES, kinds, strict=False)
        ]
        read = self.read_by_loop()
        self.loop = Loop(read, work, self.sinks, limits, self.clock, self.executor)
        read.open(self.loop)
        self.busy = False

    def read_by_loop(self) -> Source:
        """Return the source as the loop sees it."""
        return self.source

    def takes(self, *partitions: Partition) -> None:
        """Hear of partitions; the next turn starts them."""
        self.source.assign(*partitions)
        self.turn()

    def turn(self, times: int = 1) -> None:
        """Run some turns; none during a turn."""
        if self.busy:
            return
        self.busy = True
        try:
            for _ in range(times):
                self.loop.run_once()
        finally:
            self.busy = False


def failing(*faults: Exception) -> Callable[[], None]:
    """Make a hook that raises each of `faults` once."""
    left = list(faults)

    def fail() -> None:
        if left:
            raise left.pop(0)

    return fail


def fill(broker: MemoryBroker, partition: Partition, n: int, value: bytes = b"good") -> None:
    """Store `n` records."""
    broker.logs[partition].extend([value] * n)


def offsets(table: MemoryTable, partition: Partition) -> list[int]:
    """Return the offsets of a partition's rows in the order of writing."""
    return [offset for p, offset in table.rows if p == partition]
