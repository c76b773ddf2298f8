"""The lines of one pipeline: few when all is well, each thing that a person should know once."""

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from structlog.testing import capture_logs

from core.batch import KAFKA, VALUE, Batch, Partition, Position, Span
from core.errors import SinkError, StalePosition
from monitor.journal import Journal
from monitor.view import Level, PipelineView, State
from tests.support.clock import ManualClock

HOUR = 3600
PARTITION = Partition("demo.pin", "0")
WELL = State("ok", "up to date")


class Told:
    """A journal, the clock that it goes by, and the state that it is told."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.state = WELL
        self.lag: int | None = 0
        self.journal = Journal(
            "pin", self.clock, "Kafka demo.pin at b:9092", "/lake/pin", self.view
        )
        self.offset = 0

    def view(self) -> PipelineView:
        return PipelineView("pin", "Kafka", "/lake/pin", self.state, lag=self.lag, lag_seconds=0.25)

    def wrote(self, good: int = 1, **reasons: int) -> None:
        """Tell of a batch of so many good rows, and bad ones by reason."""
        names = [reason for reason, n in reasons.items() for _ in range(n)]
        metadata = {
            name: pl.Series([None] * len(names), dtype=dtype)
            for name, dtype in KAFKA.metadata.items()
        }
        offsets = range(self.offset, self.offset + len(names))
        rejected = pl.DataFrame(
            {
                **metadata,
                "_topic": ["demo.pin"] * len(names),
                "_partition": pl.Series([0] * len(names), dtype=pl.Int32),
                "_offset": pl.Series(list(offsets), dtype=pl.Int64),
                VALUE: pl.Series([b"{"] * len(names), dtype=pl.Binary),
                "reason": pl.Series(names, dtype=pl.String),
                "detail": pl.Series([f"bad {n}" for n in names], dtype=pl.String),
            }
        )
        raw = pl.DataFrame({"_offset": range(good + len(names))})
        count = good + len(names)
        span = Span(Position(self.offset), Position(self.offset + count), count)
        self.offset += count
        frame = pl.DataFrame({"ind": range(good)})
        self.journal.wrote(Batch(raw, frame, rejected, {PARTITION: span}, KAFKA))

    def turn(self, seconds: float, every: float = 1.0) -> None:
        """Let time pass while the loop turns."""
        for _ in range(round(seconds / every)):
            self.clock.advance(every)
            self.journal.turned(0)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as found:
        yield found


def events(lines: list[Any]) -> list[str]:
    return [line["event"] for line in lines]


def test_the_first_line_says_what_runs(told: Told, lines: list[Any]) -> None:
    told.journal.begin()
    [line] = lines
    assert (line["event"], line["log_level"], line["pipeline"]) == ("starting", "info", "pin")
    assert (line["source"], line["table"]) == ("Kafka demo.pin at b:9092", "/lake/pin")
    assert {"version", "python", "polars", "deltalake"} <= line.keys()


def test_an_hour_of_a_busy_pipeline_is_a_line_a_minute(told: Told, lines: list[Any]) -> None:
    told.journal.begin()
    told.journal.started({PARTITION: None})
    for _ in range(HOUR - 1):
        told.wrote(10)
        told.turn(1)
    assert len(lines) <= 61
    assert events(lines) == ["starting", "reading", *["progress"] * 59]
    assert lines[-1]["records"] == 600
    assert lines[-1]["rate"] == 10.0
    assert (lines[-1]["lag"], lines[-1]["behind_seconds"]) == (0, 0.25)


def test_an_hour_of_an_idle_pipeline_is_a_line_every_ten_minutes(
    told: Told, lines: list[Any]
) -> None:
    told.turn(HOUR)
    assert set(events(lines)) == {"idle"}
    assert 6 <= len(lines) <= 7
    assert {line["log_level"] for line in lines} == {"info"}


def test_what_was_written_just_before_a_quiet_minute_is_in_the_next_line(
    told: Told, lines: list[Any]
) -> None:
    told.turn(61)
    told.wrote(3)
    told.turn(60)
    told.turn(60)
    assert events(lines) == ["idle", "progress"]
    assert (lines[1]["records"], lines[1]["commits"]) == (3, 1)


@pytest.mark.parametrize(
    ("level", "following", "event"),
    [
        ("bad", "restart it", "not_well"),
        ("bad", "", "not_well"),
        ("warn", "start more consumers", "not_well"),
        ("warn", "", "progress"),
        ("unknown", "", "progress"),
    ],
)
def test_a_state_that_a_person_should_look_at_is_a_warning_with_its_reason(
    told: Told, lines: list[Any], level: Level, following: str, event: str
) -> None:
    told.state = State(level, "behind", None, "it is 90 s behind", following)
    told.wrote()
    told.turn(60)
    [line] = lines
    assert line["event"] == event
    assert (line["log_level"] == "warning") == (event == "not_well")
    assert (line.get("why") == "it is 90 s behind") == (event == "not_well")


def test_a_member_that_stands_by_is_no_warning(told: Told, lines: list[Any]) -> None:
    told.state = State("warn", "standby", None, "no partition is assigned", "more consumers")
    told.turn(HOUR)
    assert set(events(lines)) == {"idle"}


def test_a_state_that_changes_is_told_at_the_next_minute_and_only_once(
    told: Told, lines: list[Any]
) -> None:
    told.turn(60)
    told.state = State("bad", "waiting", None, "no broker responds", "look at it")
    told.turn(300)
    told.state = WELL
    told.turn(300)
    assert events(lines) == ["idle", "not_well", "idle"]


def test_the_first_row_of_a_reason_is_told_with_its_place_and_the_others_are_counted(
    told: Told, lines: list[Any]
) -> None:
    told.wrote(5, not_json=2)
    told.wrote(5, not_json=3, wrong_type=1)
    told.turn(60)
    first, second, minute = lines
    assert {k: v for k, v in first.items() if k not in {"log_level", "event", "pipeline"}} == {
        "reason": "not_json",
        "rows": 2,
        "topic": "demo.pin",
        "partition": 0,
        "offset": 0,
        "detail": "bad not_json",
    }
    assert (second["reason"], second["offset"]) == ("wrong_type", 10)
    assert {first["log_level"], second["log_level"]} == {"warning"}
    assert (minute["event"], minute["quarantined"]) == ("progress", 6)


def test_a_reason_that_goes_on_is_told_again_after_an_hour_with_its_rows(
    told: Told, lines: list[Any]
) -> None:
    for _ in range(HOUR + 1):
        told.wrote(0, not_json=2)
        told.turn(1)
    found = [line for line in lines if line["event"] == "record_quarantined"]
    assert [line["rows"] for line in found] == [2, 2 * HOUR]


def test_reasons_that_a_transform_makes_up_are_told_of_fifty_times_at_most(
    told: Told, lines: list[Any]
) -> None:
    for n in range(1000):
        told.wrote(0, **{f"reason_{n}": 1})
    assert len(lines) == 50


def test_positions_are_told_once_they_are_known_and_five_hundred_are_summed_up(
    told: Told, lines: list[Any]
) -> None:
    told.journal.started({Partition("demo.pin", str(n)): Position(n) for n in range(500)})
    told.turn(1)
    [line] = lines
    assert (line["event"], line["partitions"]) == ("reading", 500)
    assert line["positions"][0] == "demo.pin/0 at 0"
    assert line["positions"][-1] == "… 492 more"
    assert len(line["positions"]) == 9


def test_rebalances_are_told_once_a_minute_with_what_came_and_went(
    told: Told, lines: list[Any]
) -> None:
    one, two = PARTITION, Partition("demo.pin", "1")
    told.journal.started({one: None})
    told.turn(1)
    for _ in range(29):
        told.journal.started({two: Position(7)})
        told.turn(1)
        told.journal.revoked([two])
        told.turn(1)
    told.journal.revoked([one])
    told.journal.started({two: Position(7)})
    told.turn(5)
    lines = [line for line in lines if line["event"] != "idle"]
    assert events(lines) == ["reading", "rebalanced"]
    assert lines[0]["positions"] == ["demo.pin/0 at its start"]
    assert (lines[1]["partitions"], lines[1]["gained"], lines[1]["lost"]) == (1, 1, 1)
    assert lines[1]["positions"] == ["demo.pin/1 at 7"]


def test_a_start_again_at_the_same_partitions_is_no_rebalance(told: Told, lines: list[Any]) -> None:
    told.journal.started({PARTITION: None})
    told.turn(1)
    told.journal.started({PARTITION: Position(9)})
    told.turn(50)
    assert events(lines) == ["reading"]


def test_another_writer_is_told_of_once_a_minute_and_counted(told: Told, lines: list[Any]) -> None:
    for _ in range(30):
        told.journal.overtaken(StalePosition("clean: another writer moved demo.pin/0"))
        told.turn(1)
    told.wrote()
    told.turn(30)
    warning, minute = lines
    assert (warning["event"], warning["log_level"]) == ("another_writer_committed_first", "warning")
    assert warning["where"] == "clean: another writer moved demo.pin/0"
    assert minute["conflicts"] == 30


def test_the_last_line_has_the_totals_and_why_it_ended(told: Told, lines: list[Any]) -> None:
    told.wrote(7, not_json=1)
    told.turn(90)
    told.wrote(2)
    lines.clear()
    told.journal.end()
    told.journal.end(SinkError("the bucket is gone", "create it"))
    well, failed = lines
    assert (well["event"], well["log_level"], well["records"]) == ("stopped", "info", 10)
    assert (well["quarantined"], well["commits"], well["seconds"]) == (1, 2, 90)
    assert (failed["event"], failed["log_level"]) == ("stopped", "error")
    assert (failed["error"], failed["next"]) == ("the bucket is gone", "create it")


def test_a_hostile_reason_is_a_field_like_any(told: Told, lines: list[Any]) -> None:
    told.wrote(0, **{"a\nb\x1b[31m": 1})
    assert lines[0]["reason"] == "a\nb\x1b[31m"
    assert lines[0]["detail"] == "bad a\nb\x1b[31m"
