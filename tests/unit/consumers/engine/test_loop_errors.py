"""Errors sorted by what the loop does next: wait and try again, go back, or stop."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from consumers.engine.limits import MAX_CONFLICTS
from consumers.engine.loop import START_BUDGET_S, STOP_BUDGET_S
from core.batch import Position
from core.errors import (
    FatalError,
    SinkError,
    SourceError,
    StalePosition,
    TooManyRejects,
    TransientError,
    UnknownFault,
)
from core.retry import LOOK_INTERVAL_S, MAX_DOUBT_S, MAX_WAIT_S, NOTICE_AFTER_S
from tests.support.member import P0, P1, Member, failing, fill, offsets
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


def hopeless() -> None:
    """Raise a fault that never goes away."""
    raise TransientError("S3 answers 503")


def lasting(member: Member, seconds: float) -> Callable[[], None]:
    """Make a hook that fails for `seconds` from now on."""
    end = member.clock.monotonic() + seconds

    def fail() -> None:
        if member.clock.monotonic() < end:
            hopeless()

    return fail


# --- try again


def test_a_transient_fault_is_tried_again(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    member.sinks[0].before = failing(TransientError("503"), TransientError("timeout"))
    fill(broker, P0, 3)
    member.takes(P0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == [0, 1, 2]


def test_a_transient_fault_of_the_positions_is_tried_again(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    tables[0].held[P0] = tables[1].held[P0] = Position(1)
    member.sinks[1].reading = failing(TransientError("503"), TransientError("timeout"))
    fill(broker, P0, 3)
    member.takes(P0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == [1, 2]


def test_while_a_write_lasts_the_source_is_paused_and_polled_and_then_goes_on(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 21)
    member.takes(P0)
    member.turn()
    member.executor.waits = 4
    member.turn(5)
    assert member.source.polls == [False] * 7 + [True] * 3
    assert not member.source.paused
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == list(range(21))


def test_a_short_write_does_not_pause_the_source(broker: MemoryBroker, member: Member) -> None:
    fill(broker, P0, 30)
    member.takes(P0)
    member.turn(9)
    member.loop.finish()
    assert member.source.polls == [False] * 10


def test_what_is_revoked_while_a_write_lasts_is_dropped(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 3)
    fill(broker, P1, 12)
    member.takes(P0, P1)
    member.executor.waits = 0
    member.turn()
    member.executor.waits = 3
    fill(broker, P0, 3)
    member.turn()
    member.source.revoke(P1)
    member.turn()
    member.loop.finish()
    assert tables[0].held == {P0: Position(6), P1: Position(6)}


def test_what_is_assigned_while_a_write_lasts_is_started_after_it(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 18)
    member.takes(P0)
    member.turn()
    member.executor.waits = 3
    member.turn()
    fill(broker, P1, 3)
    member.turn(3)
    member.source.assign(P1)
    member.turn()
    assert tables[0].held == {P0: Position(6)}
    assert (P1 in member.source.held, P1 in member.source.next) == (True, False)
    member.turn(2)
    member.loop.finish()
    assert offsets(tables[0], P1) == [0, 1, 2]


def test_a_partition_revoked_while_its_position_is_read_is_not_started(
    broker: MemoryBroker, member: Member
) -> None:
    fill(broker, P0, 3)
    member.takes(P0, P1)
    member.source.revoke(P0)
    member.executor.waits = 2
    member.turn()
    assert member.source.next == {P1: None}


def test_a_partition_that_comes_back_while_its_position_is_read_is_asked_for_again(
    broker: MemoryBroker, member: Member
) -> None:
    reads: list[None] = []
    fill(broker, P0, 3)
    member.takes(P0)
    member.source.revoke(P0)
    member.source.assign(P0)
    member.sinks[0].reading = lambda: reads.append(None)
    member.executor.waits = 3
    member.turn()
    assert (len(reads), member.source.next) == (1, {})
    member.turn()
    assert (len(reads), member.source.next) == (2, {P0: Position(3)})


@pytest.mark.parametrize("hours", [0.1, 30])
def test_an_outage_of_a_store_is_waited_for_as_long_as_it_takes_and_told_twice(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable], hours: float
) -> None:
    member.sinks[0].before = lasting(member, 3600 * hours)
    fill(broker, P0, 3)
    member.takes(P0)
    member.turn()
    with capture_logs() as logs:
        member.loop.finish()
    assert offsets(tables[0], P0) == [0, 1, 2]
    began, over = logs
    assert (began["event"], began["part"], began["error"]) == ("outage", "clean", "S3 answers 503")
    # The log's seconds are rounded: the limit itself is possible.
    assert NOTICE_AFTER_S <= began["seconds"] <= NOTICE_AFTER_S + MAX_WAIT_S
    assert (over["event"], over["part"]) == ("outage_over", "clean")
    assert 3600 * hours <= over["seconds"] <= 3600 * hours + MAX_WAIT_S


def test_a_store_that_answered_once_is_waited_for_when_positions_are_read_again(
    broker: MemoryBroker, member: Member
) -> None:
    member.takes(P0)
    member.turn()
    member.sinks[0].reading = lasting(member, 3 * START_BUDGET_S)
    fill(broker, P1, 3)
    member.takes(P1)
    member.turn()
    assert member.source.held == {P0, P1}
    assert member.clock.monotonic() > 3 * START_BUDGET_S


def test_a_store_that_never_answered_stops_the_loop_after_two_minutes(
    broker: MemoryBroker, member: Member
) -> None:
    member.sinks[0].reading = hopeless
    fill(broker, P0, 3)
    member.takes(P0)
    with pytest.raises(FatalError, match=r"gave up after 120 s: S3 answers 503") as caught:
        member.turn()
    assert caught.value.hint
    assert START_BUDGET_S <= member.clock.monotonic() < START_BUDGET_S + 1


def test_a_fault_that_nobody_knows_stops_the_loop_after_two_minutes(
    broker: MemoryBroker, member: Member
) -> None:
    def unknown() -> None:
        raise UnknownFault("the table says something new")

    fill(broker, P0, 3)
    member.takes(P0)
    member.turn()
    member.sinks[0].before = unknown
    with pytest.raises(FatalError, match=r"gave up after 120 s: the table says something new"):
        member.loop.finish()
    assert MAX_DOUBT_S <= member.clock.monotonic() < MAX_DOUBT_S + 1


def test_once_it_is_asked_to_stop_a_failing_write_is_given_up_soon(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    member.sinks[0].before = hopeless
    fill(broker, P0, 3)
    member.takes(P0)
    member.turn()
    member.loop.stop()
    with pytest.raises(FatalError, match=r"gave up after 5 s: S3 answers 503"):
        member.loop.run()
    assert member.clock.monotonic() < STOP_BUDGET_S + 1
    assert member.source.closed
    assert tables[0].rows == []


def test_a_wait_between_two_tries_is_cut_short_when_the_loop_is_asked_to_stop(
    broker: MemoryBroker, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        member.clock.advance(seconds)
        if member.clock.monotonic() > 60:
            member.loop.stop()

    monkeypatch.setattr(member.clock, "sleep", sleep)
    member.sinks[0].before = hopeless
    fill(broker, P0, 3)
    member.takes(P0)
    member.turn()
    with pytest.raises(FatalError, match="gave up after 60 s: S3 answers 503"):
        member.loop.finish()
    assert 60 < member.clock.monotonic() <= 60 + LOOK_INTERVAL_S


# --- go back


def test_a_zombie_drops_its_buffer_and_goes_on_from_the_table(
    broker: MemoryBroker, tables: list[MemoryTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(broker, P0, 6)
    zombie, owner = Member(broker, tables), Member(broker, tables)
    zombie.takes(P0)
    zombie.turn(2)
    owner.takes(P0)
    owner.turn(2)
    owner.executor.run()
    zombie.executor.run()
    fill(broker, P0, 6)
    told: list[StalePosition] = []
    monkeypatch.setattr(zombie.loop._observer, "overtaken", told.append)
    zombie.turn(3)
    zombie.loop.finish()
    assert offsets(tables[0], P0) == list(range(12))
    assert [stale.message for stale in told] == ["clean: another writer moved pin/0 from None"]


def test_a_write_that_landed_before_its_fault_is_not_repeated(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    member.sinks[0].after = failing(TransientError("timeout after the write"))
    fill(broker, P0, 6)
    member.takes(P0)
    member.turn(2)
    member.executor.run()
    member.turn(3)
    member.clock.advance(2.0)
    member.turn()
    member.loop.finish()
    assert offsets(tables[0], P0) == list(range(6))
    assert tables[1].held == {P0: Position(6)}


def test_a_bounded_source_that_is_overtaken_in_its_last_batch_gives_the_rest_again(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    member.sinks[0].before = overtaking(tables[0], times=1, step=2)
    fill(broker, P0, 3)
    member.source.assign(P0)
    member.loop.run()
    assert offsets(tables[0], P0) == [0, 1, 2]
    assert tables[1].held == {P0: Position(3)}


def overtaking(table: MemoryTable, times: int, step: int = 1) -> Callable[[], None]:
    """Make a hook in which another group writes `step` records of P0 first, `times` times."""
    left = iter(range(times))

    def overtake() -> None:
        for _ in left:
            first = table.held.get(P0, Position(0)).number
            table.rows += [(P0, offset) for offset in range(first, first + step)]
            table.held[P0] = Position(first + step)
            return

    return overtake


def test_a_rival_that_is_always_faster_stops_the_loop(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    member.sinks[0].before = overtaking(tables[0], times=1000)
    fill(broker, P0, 200)
    member.takes(P0)
    with pytest.raises(SinkError, match=r"another consumer keeps writing .* pin/0 from") as caught:
        member.turn(500)
    assert "two groups" in caught.value.hint
    held = offsets(tables[0], P0)
    assert held == list(range(len(held)))


def test_rivals_of_equal_speed_stop_one_of_them(
    broker: MemoryBroker, tables: list[MemoryTable]
) -> None:
    groups = [Member(broker, tables), Member(broker, tables)]
    for group in groups:
        group.takes(P0)

    def race() -> None:
        for _ in range(300):
            fill(broker, P0, 2)
            for group in groups:
                group.clock.advance(0.5)
                group.turn()

    with pytest.raises(SinkError, match="another consumer keeps writing"):
        race()
    assert offsets(tables[0], P0) == list(range(len(offsets(tables[0], P0))))


def test_what_a_rebalance_explains_is_forgiven(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 400)
    member.takes(P0)
    for _ in range(3):
        member.sinks[0].before = overtaking(tables[0], times=MAX_CONFLICTS - 1)
        member.turn(3 * MAX_CONFLICTS)
        member.source.assign(P1)
        member.turn()
    member.loop.finish()
    held = offsets(tables[0], P0)
    assert held == list(range(len(held)))


def test_as_many_own_writes_as_lost_ones_are_no_reason_to_stop(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    member.takes(P0)
    for _ in range(3 * MAX_CONFLICTS):
        fill(broker, P0, 12)
        member.sinks[0].before = overtaking(tables[0], times=1)
        member.turn(12)
    member.loop.finish()
    held = offsets(tables[0], P0)
    assert held == list(range(len(held)))
    assert len(held) > 12 * MAX_CONFLICTS


def test_a_stale_position_is_an_error_of_its_own() -> None:
    assert not issubclass(StalePosition, (TransientError, FatalError))


# --- stop


def test_a_hopeless_fault_of_a_sink_stops_the_loop_and_leaves_the_group(
    broker: MemoryBroker, member: Member
) -> None:
    member.sinks[0].before = failing(SinkError("the table is gone"))
    fill(broker, P0, 6)
    member.source.assign(P0)
    with pytest.raises(SinkError, match="the table is gone"):
        member.loop.run()
    assert member.source.closed


def test_too_many_rejects_stop_the_loop_before_the_batch_is_written(
    broker: MemoryBroker, member: Member, tables: list[MemoryTable]
) -> None:
    fill(broker, P0, 12, BAD)
    member.takes(P0)
    member.turn(4)
    member.executor.run()
    with pytest.raises(TooManyRejects, match="12 of the last 12 records"):
        member.turn()
    assert tables[0].held == {P0: Position(6)}


def test_a_hopeless_fault_of_the_source_ends_the_wait_for_a_long_write(
    broker: MemoryBroker, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_timeout: float) -> None:
        raise SourceError("Kafka refuses")

    fill(broker, P0, 20)
    member.takes(P0)
    member.turn()
    member.executor.waits = 9
    member.executor.meanwhile = lambda: monkeypatch.setattr(member.source, "poll", refuse)
    with pytest.raises(SourceError, match="Kafka refuses"):
        member.loop.run()
    assert member.source.closed
