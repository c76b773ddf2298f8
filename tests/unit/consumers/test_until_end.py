"""A live source that ends: whoever writes, it ends when all sinks hold its ends, and not before."""

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consumers.until_end import UntilEnd, is_held
from core.batch import KAFKA, Partition, Position, Stretch
from core.errors import PositionLost, SinkError, TransientError
from core.protocols import Source
from pinpip.until_end import slowest_of
from tests.support.examples import examples
from tests.support.member import LIMITS, P0, P1, Member, failing, fill
from tests.support.memory import (
    BAD,
    DeferringSink,
    DirectExecutor,
    MemoryBroker,
    MemorySink,
    MemoryTable,
)

KINDS = (MemorySink, DeferringSink)


class EndingMember(Member):
    """A member that ends; its goal is what the broker has when it is made.

    A look at the sinks takes `look_s` seconds.
    """

    def __init__(
        self, broker: MemoryBroker, tables: list[MemoryTable], look_s: float = 0.0
    ) -> None:
        self.tables, self._look_s = tables, look_s
        # Nothing that is left over at the end waits for more.
        limits = replace(LIMITS, reject_window=1_000_000, max_wait=1e9)
        super().__init__(broker, tables, limits, KINDS)

    def read_by_loop(self) -> Source:
        self.source.pins = True
        logs = self.source.broker.logs
        self.goal = {p: Stretch(Position(0), Position(len(logs[p]))) for p in (P0, P1)}
        self.looking = [MemorySink(table, "looking") for table in self.tables]
        self.looking[0].reading = lambda: self.clock.advance(self._look_s)
        held = partial(slowest_of, self.looking, KAFKA)
        self.end = UntilEnd(self.source, self.goal, held, self.clock, DirectExecutor())
        self.end.caught_up = self._caught_up
        return self.end

    def _caught_up(self) -> None:
        self.loop.caught_up()

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            if not (self.busy or self.end.exhausted):
                self.clock.advance(0.6)
                super().turn()

    def lacks(self) -> list[tuple[Partition, Position | None]]:
        """Return the ends that a table lacks."""
        positions = [
            (p, table.held.get(p) or table.origins.get(p) or self.tables[0].origins.get(p))
            for table in self.tables
            for p in self.goal
        ]
        return [(p, at) for p, at in positions if not is_held(at, self.goal[p].end)]


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    fill(broker, P0, 4)
    fill(broker, P1, 4)
    return broker


@pytest.fixture
def tables() -> list[MemoryTable]:
    return [MemoryTable(), MemoryTable()]


def test_it_ends_when_its_own_share_is_all_and_every_sink_holds_it(
    broker: MemoryBroker, tables: list[MemoryTable]
) -> None:
    member = EndingMember(broker, tables)
    member.source.assign(P0, P1)
    member.turn(10)
    assert member.end.exhausted
    assert member.lacks() == []


def test_what_it_has_written_itself_is_looked_at_without_a_pause(
    broker: MemoryBroker, tables: list[MemoryTable]
) -> None:
    member = EndingMember(broker, tables, look_s=10.0)
    member.source.assign(P0, P1)
    began = member.clock.monotonic()
    member.turn(30)
    assert member.end.exhausted
    assert member.clock.monotonic() - began < 20  # one look, and a few turns


def test_nothing_is_opened_when_the_sinks_hold_the_ends_already(
    broker: MemoryBroker, tables: list[MemoryTable]
) -> None:
    first = EndingMember(broker, tables)
    first.source.assign(P0, P1)
    first.turn(10)
    second = EndingMember(broker, tables)
    assert second.end.exhausted
    second.end.close()
    assert not second.source.closed  # it was never opened


def test_what_another_member_writes_counts_but_not_before_its_quarantine_does(
    broker: MemoryBroker, tables: list[MemoryTable]
) -> None:
    daemon = Member(broker, tables, kinds=KINDS)
    daemon.source.pins = True
    member = EndingMember(broker, tables)
    member.source.assign(P0)
    daemon.takes(P1)
    member.turn(10)
    assert not member.end.exhausted
    assert member.end.missing == {P1: (Position(0), Position(4))}
    daemon.turn(3)
    daemon.clock.advance(5)
    daemon.turn(2)
    daemon.executor.run()
    assert tables[0].held[P1] == Position(4)
    member.turn(10)
    assert not member.end.exhausted  # what the daemon rejected may not be there yet
    daemon.loop.finish()
    member.turn(10)
    assert member.end.exhausted


def test_later_records_may_be_taken_but_do_not_move_the_end(
    broker: MemoryBroker, tables: list[MemoryTable]
) -> None:
    member = EndingMember(broker, tables)
    member.source.assign(P0, P1)
    for _ in range(20):
        fill(broker, P0, 3)
        member.turn()
        if member.end.exhausted:
            break
    assert member.end.exhausted
    assert len(tables[0].rows) > 8


def test_a_look_that_fails_for_the_moment_is_repeated(
    broker: MemoryBroker, tables: list[MemoryTable]
) -> None:
    member = EndingMember(broker, tables)
    member.looking[0].reading = failing(TransientError("503"), TransientError("503"))
    member.source.assign(P0, P1)
    member.turn(40)
    assert member.end.exhausted


def test_a_look_that_fails_for_good_ends_the_run(
    broker: MemoryBroker, tables: list[MemoryTable]
) -> None:
    member = EndingMember(broker, tables)
    member.source.assign(P0, P1)
    member.looking[0].reading = failing(PositionLost("gone"))
    with pytest.raises(PositionLost):
        member.turn(10)


def test_a_position_of_another_life_of_the_topic_is_no_end() -> None:
    assert is_held(Position(5, epoch=1), Position(5, epoch=1))
    assert is_held(Position(5), Position(5, epoch=1))
    assert not is_held(Position(9, epoch=2), Position(5, epoch=1))
    assert not is_held(None, Position(0))


class Chaos(RuleBasedStateMachine):
    """Two members that end, rebalances and crashes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker()
        self.tables = [MemoryTable(), MemoryTable()]
        fill(self.broker, P0, 2)
        fill(self.broker, P1, 0)
        self.ended: list[EndingMember] = []
        self.members = [self._member(), self._member()]
        self.members[0].source.assign(P0, P1)

    def _member(self) -> EndingMember:
        return EndingMember(self.broker, self.tables)

    @rule(partition=st.sampled_from([P0, P1]), values=st.lists(st.sampled_from([b"good", BAD])))
    def produce(self, partition: Partition, values: list[bytes]) -> None:
        self.broker.logs[partition].extend([*values, b"good", b"good"])

    @rule(who=st.integers(0, 1), times=st.integers(1, 6))
    def turn(self, who: int, times: int) -> None:
        member = self.members[who]
        try:
            member.turn(times)
            if member.end.exhausted:
                member.loop.finish()
                self.ended.append(member)
                self._replace(who, who)
        except SinkError:  # two owners fought for too long: the scheduler starts one again
            self._replace(who, who)

    @rule(partition=st.sampled_from([P0, P1]), to=st.integers(0, 1))
    def rebalance(self, partition: Partition, to: int) -> None:
        self.members[1 - to].source.revoke(partition)
        self.members[to].source.assign(partition)

    @rule(who=st.integers(0, 1), to=st.integers(0, 1))
    def crash(self, who: int, to: int) -> None:
        self._replace(who, to)

    def _replace(self, who: int, to: int) -> None:
        partitions = self.members[who].source.held
        self.members[who] = self._member()
        self.members[to].source.assign(*partitions)

    @invariant()
    def no_member_ended_before_every_table_held_its_ends(self) -> None:
        assert [member.lacks() for member in self.ended if member.lacks()] == []

    def teardown(self) -> None:
        last = self._member()
        last.source.assign(P0, P1)
        last.turn(60)
        assert last.end.exhausted
        assert last.lacks() == []
        rows = self.tables[0].rows + self.tables[1].rows
        assert len(rows) == len(set(rows)) >= sum(s.end.number for s in last.goal.values())


Chaos.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
test_it_never_ends_too_early_and_always_ends = Chaos.TestCase
