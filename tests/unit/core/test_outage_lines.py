"""What is logged of an outage: its begin and its end once, and no flood when it flaps."""

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.retry import NOTICE_AFTER_S, QUIET_S, Outage
from tests.support.clock import ManualClock

ABOUT = {"pipeline": "pin", "endpoint": "Kafka demo.pin at b:9092"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def outage(clock: ManualClock) -> Outage:
    return Outage("source", clock, about=ABOUT)


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as found:
        yield found


def lasts(outage: Outage, clock: ManualClock, seconds: float) -> None:
    """Let calls fail for so long; then one succeeds."""
    for _ in range(round(seconds)):
        outage.failed("", "1/1 brokers are down", "start it")
        clock.advance(1)
        outage.look()
    outage.over()


def test_both_lines_name_the_pipeline_the_part_and_the_endpoint(
    outage: Outage, clock: ManualClock, lines: list[Any]
) -> None:
    lasts(outage, clock, 3600)
    began, over = lines
    assert (began["event"], over["event"]) == ("outage", "outage_over")
    for line in lines:
        assert line.items() >= {**ABOUT, "part": "source", "log_level": "warning"}.items()
    assert (began["error"], began["next"]) == ("1/1 brokers are down", "start it")
    assert over["seconds"] == 3600


def test_a_source_that_flaps_is_told_of_once_a_minute_and_the_others_are_counted(
    outage: Outage, clock: ManualClock, lines: list[Any]
) -> None:
    for _ in range(60):
        lasts(outage, clock, NOTICE_AFTER_S + 1)
        clock.advance(4)
    events = [line["event"] for line in lines]
    assert len(events) <= 2 * (600 / QUIET_S + 1)
    assert events == ["outage", "outage_over"] * (len(events) // 2)
    assert [line.get("repeats", 0) for line in lines[::2]] == [0, *[5] * 9]


def test_an_outage_soon_after_another_is_told_when_it_lasts(
    outage: Outage, clock: ManualClock, lines: list[Any]
) -> None:
    lasts(outage, clock, 10)
    clock.advance(10)
    lasts(outage, clock, 300)
    assert [line["event"] for line in lines] == ["outage", "outage_over"] * 2
    assert lines[2]["seconds"] < QUIET_S
    assert "repeats" not in lines[2]
    assert lines[3]["seconds"] == 300


def test_a_short_fault_is_not_told(outage: Outage, clock: ManualClock, lines: list[Any]) -> None:
    lasts(outage, clock, NOTICE_AFTER_S - 1)
    assert lines == []
