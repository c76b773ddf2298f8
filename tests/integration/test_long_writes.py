"""A write that outlasts max.poll.interval.ms, on the real broker: its member stays in the group."""

import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from consumers.engine.loop import Loop
from consumers.kafka.source import KafkaSource
from core.batch import Partition
from core.clock import SystemClock
from core.errors import TransientError
from tests.contracts.source_contract import numbered
from tests.support.brokers import Broker
from tests.support.member import LIMITS
from tests.support.memory import MemorySink, MemoryTable, process
from tests.support.processes import until

POLL_INTERVAL = 6.0  # the least that a broker's group.min.session.timeout.ms allows
OUTAGE = 9.0


class Watched(Loop):
    """A loop that remembers what it was given and what was taken away from it."""

    given: tuple[Partition, ...] = ()
    lost: tuple[Partition, ...] = ()

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Remember them."""
        self.given += tuple(partitions)
        super().assigned(partitions)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Remember them."""
        self.lost += tuple(partitions)
        super().revoked(partitions)


def outage(seconds: float) -> Callable[[], None]:
    """Make a hook that fails for `seconds` after its first call."""
    began: list[float] = []

    def fail() -> None:
        began.append(time.monotonic())
        if began[-1] - began[0] < seconds:
            raise TransientError("S3 answers 503")

    return fail


@pytest.mark.real_broker
@pytest.mark.parametrize("call", ["before", "reading"])
def test_a_sink_that_fails_for_longer_than_the_poll_interval_costs_no_rebalance(
    broker: Broker, call: str
) -> None:
    topic, group = broker.create_topic(), f"g{uuid4().hex[:12]}"
    broker.produce(topic, numbered(4000))
    milliseconds = int(POLL_INTERVAL * 1000)
    patience = {"max.poll.interval.ms": milliseconds, "session.timeout.ms": milliseconds}
    source = KafkaSource(broker.properties | patience, [topic], group, chunk=500)
    table = MemoryTable()
    sink = MemorySink(table)
    setattr(sink, call, outage(OUTAGE))
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as thread:
        loop = Watched(source, process, [sink], LIMITS, SystemClock(), writer)
        running = thread.submit(loop.run)
        try:
            until(lambda: len(loop.given) == 4, "an assignment")
            member = broker.members(group)
            until(lambda: len(table.rows) >= 4000 or running.done(), "all rows")
            assert len(member) == 1
            assert (broker.members(group), len(loop.given), loop.lost) == (member, 4, ())
        finally:
            loop.stop()
        running.result(20)
    assert sorted(table.rows) == sorted((Partition(topic, str(n % 4)), n // 4) for n in range(4000))
