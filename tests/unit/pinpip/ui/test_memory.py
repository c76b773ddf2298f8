"""What is called complete is complete: freshness by positions and ends that belong together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.batch import Partition, Position
from core.observer import Horizon
from monitor.view import CommitView
from pinpip.connectors.protocol import SourceEnds
from pinpip.lake.view import LakeView
from pinpip.status import Ends, PartitionStatus, PipelineStatus
from pinpip.ui.looks import Source
from pinpip.ui.memory import Memory

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
A, B = Partition("demo.pin", "0"), Partition("demo.pin", "1")
FIRST = NOON - timedelta(hours=1)
COMMIT = CommitView(3, NOON, 5, 5, 0, (f"{A} start..5",))
LAKE = LakeView(NOON, first_event=FIRST, commits=(COMMIT,))


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def row(partition: Partition, position: int | None, end: int) -> PartitionStatus:
    own = None if position is None else Position(position)
    return PartitionStatus(partition, own, Position(end), lag=end - (position or 0), gone=0)


def status(*rows: PartitionStatus) -> PipelineStatus:
    return PipelineStatus("pin", "lake/pin", 5, 0, 0, 0, 0, rows)


def source(seconds: float, **ends: int) -> Source:
    named = {Partition("demo.pin", name.removeprefix("p")): end for name, end in ends.items()}
    horizons = {p: Horizon(Position(end), at(seconds), begin=0) for p, end in named.items()}
    return Source(Ends(list(named), SourceEnds(), {}), horizons)


def test_no_lag_is_complete_until_the_source_was_asked() -> None:
    memory = Memory()
    memory.follow(status(row(A, 5, 5), row(B, 3, 3)), source(1, p0=5, p1=3), LAKE, at(1))
    assert memory.until() == at(1)


def test_an_end_is_proven_once_the_position_reaches_it() -> None:
    memory = Memory()
    memory.follow(status(row(A, 5, 5)), source(0, p0=5), LAKE, at(0))
    memory.follow(status(row(A, 5, 9)), source(5, p0=9), LAKE, at(5))
    assert memory.until() == at(0)
    memory.follow(status(row(A, 9, 20)), source(10, p0=20), LAKE, at(10))
    assert memory.until() == at(5)


def test_before_that_it_is_the_first_event_of_the_newest_commit_of_that_partition() -> None:
    memory = Memory()
    memory.follow(status(row(A, 5, 9)), source(0, p0=9), LAKE, at(0))
    assert memory.until() == FIRST
    memory.follow(status(row(A, 5, 9), row(B, 3, 9)), source(1, p0=9, p1=9), LAKE, at(1))
    assert memory.until() is None


@pytest.mark.parametrize("now", [None, 2])
def test_a_table_that_was_replaced_proves_nothing(now: int | None) -> None:
    memory = Memory()
    memory.follow(status(row(A, 5, 5)), source(0, p0=5), LAKE, at(0))
    memory.follow(status(row(A, now, 5)), source(5, p0=5), LakeView(), at(5))
    assert memory.until() is None


@pytest.mark.parametrize("fault", [{"recreated": True}, {"gone": 2}])
def test_a_source_that_is_another_or_lost_records_proves_nothing(fault: dict[str, int]) -> None:
    memory = Memory()
    memory.follow(status(row(A, 5, 5)), source(0, p0=5), LAKE, at(0))
    lost = replace(row(A, 5, 2), **fault)  # type: ignore[arg-type]
    memory.follow(status(lost), source(5, p0=2), LAKE, at(5))
    assert memory.until() is None


def test_positions_that_stand_still_are_timed_until_they_move() -> None:
    memory = Memory()
    for seconds in (0, 20, 40):
        memory.follow(status(row(A, 5, 9)), None, LAKE, at(seconds))
    assert (memory.moved, memory.idle(at(40))) == (None, timedelta(seconds=40))
    memory.follow(status(row(A, 6, 9)), None, LAKE, at(45))
    assert (memory.moved, memory.idle(at(45))) == (at(45), timedelta())
