"""The loop, driven step by step in memory."""

import pytest

from consumers.engine.buffer import RUSH_S
from core.batch import Position, Records
from core.errors import StalePosition
from tests.support.member import LIMITS, P0, P1, Member, fill, offsets
from tests.support.memory import BAD, MemoryBroker, MemoryTable


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def tables() -> list[MemoryTable]:
    return [MemoryTable(), MemoryTable()]


@pytest.fixture
def member(broker: MemoryBroker, tables: list[MemoryTable]) -> Member:
    return Member(broker, tables)


def test_a_batch_is_written_when_it_has_enough_records(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 6)
    member.takes(P0)
    member.turn(1)
    assert not member.executor.busy
    member.turn(1)
    member.executor.run()
    assert offsets(tables[0], P0) == [0, 1, 2, 3, 4, 5]


def test_a_batch_is_written_when_it_is_old_enough(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 1)
    member.takes(P0)
    member.turn()
    member.clock.advance(1.0)
    member.turn()
    member.executor.run()
    assert offsets(tables[0], P0) == [0]


def test_no_batch_waits_longer_than_it_may_though_its_first_records_were_awaited(
    broker: MemoryBroker,
    member: Member,
    tables: list[MemoryTable],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poll = member.source.poll

    def patient(timeout: float) -> Records | None:
        member.clock.advance(timeout)
        return poll(timeout)

    member.takes(P0)
    member.turn()
    fill(broker, P0, 1)
    monkeypatch.setattr(member.source, "poll", patient)
    began = member.clock.monotonic()
    while not tables[0].rows:
        member.turn()
        member.executor.run()
    assert member.clock.monotonic() - began <= LIMITS.max_wait


def test_the_rest_of_a_backlog_does_not_wait_for_more_records(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 7)  # a batch is full with the second poll, and one record is left
    member.takes(P0)
    member.turn(4)
    member.executor.run()
    assert (offsets(tables[0], P0), member.clock.monotonic()) == ([*range(7)], 0.0)


def test_the_first_records_after_a_start_do_not_wait_for_others(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 2)
    member.takes(P0)
    member.turn(2)
    member.executor.run()
    assert (offsets(tables[0], P0), member.clock.monotonic()) == ([0, 1], 0.0)


def test_records_that_come_long_after_a_start_wait_for_others(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    member.takes(P0)
    member.turn()
    member.clock.advance(RUSH_S)
    fill(broker, P0, 2)
    member.turn(3)
    member.executor.run()
    assert offsets(tables[0], P0) == []
    member.clock.advance(LIMITS.max_wait)
    member.turn()
    member.executor.run()
    assert offsets(tables[0], P0) == [0, 1]


def test_records_that_follow_no_full_batch_wait_for_others(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 7)
    member.takes(P0)
    member.turn(4)
    fill(broker, P0, 1)
    member.turn(5)
    member.executor.run()
    assert offsets(tables[0], P0) == [*range(7)]
    member.clock.advance(LIMITS.max_wait)
    member.turn()
    member.executor.run()
    assert offsets(tables[0], P0) == [*range(8)]


def test_the_source_hears_of_a_batch_only_after_every_sink_has_it(
    broker: MemoryBroker, member: Member
) -> None:
    fill(broker, P0, 6)
    member.takes(P0)
    member.turn(2)
    assert member.source.acknowledged == {}
    member.executor.run()
    member.turn()
    assert member.source.acknowledged == {P0: Position(6)}


def test_the_next_batch_is_polled_while_one_is_written(
    broker: MemoryBroker, member: Member
) -> None:
    fill(broker, P0, 9)
    member.takes(P0)
    member.turn(3)
    assert member.executor.busy
    assert member.source.exhausted


def test_a_bounded_run_whose_commits_were_lost_reads_them_again_before_it_ends(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(broker, P0, 6)
    sink, lost = member.sinks[0], [True]

    def settle() -> None:
        if lost and lost.pop():
            tables[0].held.clear()
            tables[0].rows.clear()
            raise StalePosition("the table was deleted")

    monkeypatch.setattr(sink, "settle", settle)
    member.source.assign(P0)
    member.loop.run()
    assert not lost
    assert offsets(tables[0], P0) == [*range(6)]


def test_partitions_start_at_the_minimum_over_the_sinks(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 6)
    tables[0].held[P0], tables[1].held[P0] = Position(4), Position(2)
    member.takes(P0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == [4]
    assert tables[1].held[P0] == Position(5)


def test_a_partition_that_one_sink_does_not_know_starts_at_its_first_record(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 3)
    tables[0].held[P0] = Position(3)
    member.takes(P0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == []
    assert tables[1].held[P0] == Position(3)


def test_a_batch_of_rejects_alone_still_moves_the_positions(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 2, BAD)
    member.takes(P0)
    member.turn()
    member.loop.finish()
    assert tables[0].held == tables[1].held == {P0: Position(2)}
    assert offsets(tables[1], P0) == [0, 1]


def test_revoked_records_are_dropped_from_the_buffer(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 2)
    fill(broker, P1, 2)
    member.takes(P0, P1)
    member.turn()
    member.source.revoke(P1)
    member.turn()
    member.loop.finish()
    assert tables[0].held == {P0: Position(2)}


def test_a_partition_that_is_assigned_again_starts_afresh(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 3)
    member.takes(P0)
    member.turn()
    member.takes(P0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == [0, 1, 2]


def test_no_sink_is_called_while_partitions_are_announced(
    broker: MemoryBroker, member: Member
) -> None:
    fill(broker, P0, 3)
    member.sinks[0].reading = pytest.fail
    member.takes(P0, P1)
    assert member.source.held == {P0, P1}
    assert member.source.next == {}


def test_a_start_waits_for_the_write_in_flight(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 6)
    member.takes(P0)
    member.turn(2)
    member.source.revoke(P0)
    member.source.assign(P0)
    member.turn(2)
    assert tables[0].held == {}
    member.turn()
    assert tables[0].held == {P0: Position(6)}
    assert member.source.exhausted


def test_a_revoked_partition_is_not_acknowledged(broker: MemoryBroker, member: Member) -> None:
    fill(broker, P0, 6)
    member.takes(P0)
    member.turn(2)
    member.source.revoke(P0)
    member.turn()
    member.executor.run()
    member.turn()
    assert member.source.acknowledged == {}


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
    member.takes(P0)
    member.turn()
    member.loop.stop()
    member.loop.run()
    assert offsets(tables[0], P0) == [0, 1]
