"""How a pipeline is called by what its tables and its source say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.batch import Partition, Position
from monitor.recent import Recent, Sample
from pinpip.cli.watching import Trend, ago, sparkline
from pinpip.status import PartitionStatus, PipelineStatus
from pinpip.ui.looks import Fault
from pinpip.ui.state import Known, state

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROW = PartitionStatus(Partition("demo.pin", "0"), Position(5), Position(5), lag=0, gone=0)
STATUS = PipelineStatus("pin", "lake/pin", 5, 0, 0, 0, 0, [ROW])
WELL = Known(STATUS, NOON, last_commit=NOON, moves=True)
LAGS = replace(WELL, status=replace(STATUS, lag=7), last_commit=NOON - timedelta(minutes=10))


def told(known: Known, late: float | None = 2.0) -> tuple[str, str]:
    sample = Sample(NOON.timestamp(), 5, 0, known.status.lag, late)
    recent = Recent()
    recent.add(sample)
    own = state(known, recent, sample)
    assert own.level in {"ok", "unknown"} or ((own.why and own.next) or own.word == "catching up")
    return own.level, own.word


def test_no_lag_is_up_to_date() -> None:
    assert told(WELL) == ("ok", "up to date")


def test_lag_that_is_being_consumed_is_up_to_date_or_catching_up() -> None:
    busy = replace(LAGS, last_commit=NOON)
    assert told(busy) == ("ok", "up to date")
    assert told(busy, 90.0) == ("warn", "catching up")


@pytest.mark.parametrize("last", [NOON - timedelta(minutes=10), None])
def test_lag_without_a_commit_is_nobodys_once_nothing_moved_for_long(
    last: datetime | None,
) -> None:
    seen = replace(LAGS, last_commit=last, moves=False)
    assert told(seen) == ("warn", "behind")
    assert told(replace(seen, idle=timedelta(seconds=31))) == ("bad", "nobody is consuming")


def test_records_that_wait_for_a_moment_after_a_quiet_hour_are_no_alarm() -> None:
    assert told(replace(LAGS, idle=timedelta(seconds=5)))[0] == "ok"


def test_a_source_that_lost_records_or_its_life_says_what_to_do() -> None:
    gone = replace(STATUS, partitions=[replace(ROW, gone=3)])
    again = replace(STATUS, partitions=[replace(ROW, recreated=True)])
    assert told(replace(WELL, status=gone)) == ("bad", "records expired")
    assert told(replace(WELL, status=again)) == ("bad", "source re-created")


def test_what_cannot_be_read_is_unknown_unless_a_person_must_act() -> None:
    silent, damaged = Fault("no answer", "wait"), Fault("damaged", "restore it", lasting=True)
    assert told(replace(WELL, source=silent)) == ("unknown", "source not readable")
    assert told(replace(WELL, tables=silent)) == ("unknown", "table not readable")
    assert told(replace(WELL, tables=damaged)) == ("bad", "table not readable")
    assert told(replace(WELL, gone="it is gone")) == ("bad", "table is gone")


def test_a_lag_that_the_source_does_not_tell_is_never_called_well() -> None:
    untold = replace(STATUS, lag=None)
    assert told(replace(WELL, status=untold)) == ("unknown", "lag not known")
    late = replace(WELL, status=untold, behind=("s/shard: 9 records",))
    assert told(late) == ("bad", "behind")


def test_a_sparkline_is_full_at_the_highest_and_empty_at_zero() -> None:
    assert sparkline([0, 1, 50, 100]) == "▁▂▅█"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([0, 4], "ascii") == "_#"


def test_a_trend_has_a_rate_and_the_time_of_the_last_rows() -> None:
    trend = Trend()
    for at, clean in ((0.0, 10), (2.0, 10), (4.0, 30)):
        trend.add(replace(STATUS, clean=clean), at)
    assert (trend.rate, trend.moved, list(trend.lags)) == (10.0, 4.0, [0, 0, 0])
    trend.add(replace(STATUS, clean=0), 6.0)
    assert trend.rate is None


def test_ages_are_said_in_the_largest_fitting_unit() -> None:
    assert [ago(s) for s in (0.4, 12, 119, 120, 7200)] == [
        "now",
        "12 s ago",
        "119 s ago",
        "2 min ago",
        "2 h ago",
    ]
