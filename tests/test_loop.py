"""The loop, driven step by step in memory."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consumers.loop import Limits, Loop
from pinpip.batch import Partition, Position
from pinpip.errors import FatalError, StalePosition, TooManyRejects, TransientError
from tests.support.clock import ManualClock
from tests.support.memory import (
    BAD,
    LazyExecutor,
    MemoryBroker,
    MemorySink,
    MemorySource,
    MemoryTable,
    process,
)

P0, P1 = Partition("pin", "0"), Partition("pin", "1")
LIMITS = Limits(
    max_records=5, max_bytes=1_000_000, max_wait=1.0, reject_ratio=0.5, reject_window=10
)


class Member:
    """One consumer process: a source, a loop and its sinks on shared tables."""

    def __init__(
        self, broker: MemoryBroker, tables: list[MemoryTable], limits: Limits = LIMITS
    ) -> None:
        self.clock = ManualClock()
        self.executor = LazyExecutor()
        self.source = MemorySource(broker)
        self.sinks = [
            MemorySink(table, stage)
            for table, stage in zip(tables, ("clean", "rejected"), strict=False)
        ]
        self.loop = Loop(self.source, process, self.sinks, limits, self.clock, self.executor)
        self.source.open(self.loop)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.loop.run_once()


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def tables() -> list[MemoryTable]:
    return [MemoryTable(), MemoryTable()]


@pytest.fixture
def member(broker: MemoryBroker, tables: list[MemoryTable]) -> Member:
    return Member(broker, tables)


def fill(broker: MemoryBroker, partition: Partition, n: int, value: bytes = b"good") -> None:
    broker.logs[partition].extend([value] * n)


def offsets(table: MemoryTable, partition: Partition) -> list[int]:
    return [offset for p, offset in table.rows if p == partition]


def test_a_batch_is_written_when_it_has_enough_records(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 6)
    member.source.assign(P0)
    member.turn(1)
    assert member.executor.pending is None
    member.turn(1)
    member.executor.run()
    assert offsets(tables[0], P0) == [0, 1, 2, 3, 4, 5]


def test_a_batch_is_written_when_it_is_old_enough(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 1)
    member.source.assign(P0)
    member.turn()
    member.clock.advance(1.0)
    member.turn()
    member.executor.run()
    assert offsets(tables[0], P0) == [0]


def test_the_source_hears_of_a_batch_only_after_every_sink_has_it(
    broker: MemoryBroker, member: Member
) -> None:
    fill(broker, P0, 6)
    member.source.assign(P0)
    member.turn(2)
    assert member.source.acknowledged == {}
    member.executor.run()
    member.turn()
    assert member.source.acknowledged == {P0: Position(6)}


def test_the_next_batch_is_polled_while_one_is_written(
    broker: MemoryBroker, member: Member
) -> None:
    fill(broker, P0, 9)
    member.source.assign(P0)
    member.turn(3)
    assert member.executor.pending is not None
    assert not member.executor.pending.done()
    assert member.source.exhausted


def test_partitions_start_at_the_minimum_over_the_sinks(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 6)
    tables[0].held[P0], tables[1].held[P0] = Position(4), Position(2)
    member.source.assign(P0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == [4]
    assert tables[1].held[P0] == Position(5)


def test_a_partition_that_one_sink_does_not_know_starts_at_its_first_record(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 3)
    tables[0].held[P0] = Position(3)
    member.source.assign(P0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == []
    assert tables[1].held[P0] == Position(3)


def test_a_batch_of_rejects_alone_still_moves_the_positions(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 2, BAD)
    member.source.assign(P0)
    member.turn()
    member.loop.finish()
    assert tables[0].held == tables[1].held == {P0: Position(2)}
    assert offsets(tables[1], P0) == [0, 1]


def test_revoked_records_are_dropped_from_the_buffer(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 2)
    fill(broker, P1, 2)
    member.source.assign(P0, P1)
    member.turn()
    member.source.revoke(P1)
    member.turn()
    member.loop.finish()
    assert tables[0].held == {P0: Position(2)}


def test_a_partition_that_is_assigned_again_starts_afresh(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 3)
    member.source.assign(P0)
    member.turn()
    member.source.assign(P0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == [0, 1, 2]


def test_an_assignment_waits_for_the_write_in_flight(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 6)
    member.source.assign(P0)
    member.turn(2)
    member.source.revoke(P0)
    member.source.assign(P0)
    member.turn()
    assert tables[0].held == {P0: Position(6)}
    assert member.source.exhausted


def test_a_revoked_partition_is_not_acknowledged(broker: MemoryBroker, member: Member) -> None:
    fill(broker, P0, 6)
    member.source.assign(P0)
    member.turn(2)
    member.source.revoke(P0)
    member.turn()
    member.executor.run()
    member.turn()
    assert member.source.acknowledged == {}


def test_a_zombie_drops_its_buffer_and_goes_on_from_the_table(
    broker: MemoryBroker, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 6)
    zombie, owner = Member(broker, tables), Member(broker, tables)
    zombie.source.assign(P0)
    zombie.turn(2)
    owner.source.assign(P0)
    owner.turn(2)
    owner.executor.run()
    zombie.executor.run()
    fill(broker, P0, 6)
    zombie.turn(3)
    zombie.loop.finish()
    assert offsets(tables[0], P0) == list(range(12))


def test_a_transient_fault_is_tried_again(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    faults = iter([TransientError("503"), TransientError("timeout")])

    def fail() -> None:
        for fault in faults:
            raise fault

    member.sinks[0].before = fail
    fill(broker, P0, 3)
    member.source.assign(P0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == [0, 1, 2]


def test_a_write_that_landed_before_its_fault_is_not_repeated(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    faults = iter([TransientError("timeout after the write")])

    def fail() -> None:
        for fault in faults:
            raise fault

    member.sinks[0].after = fail
    fill(broker, P0, 6)
    member.source.assign(P0)
    member.turn(3)
    member.executor.run()
    member.turn(3)
    member.clock.advance(2.0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == list(range(6))
    assert tables[1].held == {P0: Position(6)}


def test_a_fault_that_stays_stops_the_loop(broker: MemoryBroker, member: Member) -> None:
    def fail() -> None:
        raise TransientError("S3 answers 503")

    member.sinks[0].before = fail
    fill(broker, P0, 3)
    member.source.assign(P0)
    member.turn()
    with pytest.raises(FatalError, match=r"gave up after .* S3 answers 503"):
        member.loop.finish()


def test_too_many_rejects_stop_the_loop_before_the_batch_is_written(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 12, BAD)
    member.source.assign(P0)
    with pytest.raises(TooManyRejects, match="12 of the last 12 records"):
        member.turn(4)
    member.executor.run()
    assert tables[0].held == {P0: Position(6)}


def test_run_writes_everything_of_a_bounded_source_and_closes_it(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 20)
    member.source.assign(P0)
    member.loop.run()
    assert offsets(tables[0], P0) == list(range(20))
    assert member.source.closed


def test_stop_writes_what_is_buffered(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 2)
    member.source.assign(P0)
    member.turn()
    member.loop.stop()
    member.loop.run()
    assert offsets(tables[0], P0) == [0, 1]


def test_a_bounded_source_that_is_overtaken_in_its_last_batch_gives_the_rest_again(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    others = iter([Position(2)])

    def be_overtaken() -> None:
        for end in others:
            tables[0].rows += [(P0, offset) for offset in range(end.number)]
            tables[0].held[P0] = end

    member.sinks[0].before = be_overtaken
    fill(broker, P0, 3)
    member.source.assign(P0)
    member.loop.run()
    assert offsets(tables[0], P0) == [0, 1, 2]
    assert tables[1].held == {P0: Position(3)}


class Chaos(RuleBasedStateMachine):
    """Two members, two partitions, and everything that can happen to them in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker()
        self.tables = [MemoryTable(), MemoryTable()]
        self.members = [self._member(), self._member()]
        self.members[0].source.assign(P0, P1)

    def _member(self) -> Member:
        return Member(self.broker, self.tables, replace(LIMITS, reject_window=1_000_000))

    @rule(partition=st.sampled_from([P0, P1]), values=st.lists(st.sampled_from([b"good", BAD])))
    def produce(self, partition: Partition, values: list[bytes]) -> None:
        self.broker.logs[partition].extend([*values, b"good", b"good"])

    @rule(who=st.integers(0, 1), times=st.integers(1, 4))
    def turn(self, who: int, times: int) -> None:
        self.members[who].clock.advance(0.4)
        self.members[who].turn(times)

    @rule(who=st.integers(0, 1))
    def finish_the_write(self, who: int) -> None:
        self.members[who].executor.run()

    @rule(partition=st.sampled_from([P0, P1]), to=st.integers(0, 1))
    def rebalance(self, partition: Partition, to: int) -> None:
        self.members[1 - to].source.revoke(partition)
        self.members[to].source.assign(partition)

    @rule(partition=st.sampled_from([P0, P1]), to=st.integers(0, 1))
    def rebalance_without_telling_the_old_owner(self, partition: Partition, to: int) -> None:
        self.members[to].source.assign(partition)

    @rule(who=st.integers(0, 1))
    def crash(self, who: int) -> None:
        partitions = self.members[who].source.assigned
        self.members[who] = self._member()
        self.members[who].source.assign(*partitions)

    @rule(who=st.integers(0, 1), sink=st.integers(0, 1), landed=st.booleans())
    def the_next_write_fails(self, who: int, sink: int, landed: bool) -> None:  # noqa: FBT001
        faults = iter([TransientError("503")])

        def fail() -> None:
            for fault in faults:
                raise fault

        target = self.members[who].sinks[sink]
        if landed:
            target.after = fail
        else:
            target.before = fail

    @invariant()
    def no_record_is_there_twice(self) -> None:
        rows = Counter(self.tables[0].rows + self.tables[1].rows)
        assert [row for row, n in rows.items() if n > 1] == []

    def teardown(self) -> None:
        last = self._member()
        last.source.assign(P0, P1)
        last.loop.run()
        rows = sorted(self.tables[0].rows + self.tables[1].rows)
        logs = self.broker.logs
        assert rows == sorted((p, i) for p in (P0, P1) for i in range(len(logs[p])))


Chaos.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_each_record_is_written_once_whatever_happens = Chaos.TestCase


def test_a_stale_position_is_an_error_of_its_own() -> None:
    assert not issubclass(StalePosition, (TransientError, FatalError))
