"""A replay names what it was asked for and retention has taken."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.window import Window
from core.batch import Partition, Position
from core.errors import RecordsExpired
from pinpip.connectors import expired, kinesis
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import invoke
from tests.support.processes import Home, kafka_home, kinesis_home, payloads, put
from tests.support.topics import trim

real = pytest.mark.real_broker
P, Q = Partition("t", "0"), Partition("t", "1")
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def home(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Create a topic of two partitions with 20 records each; expire the first 5 of partition 0."""
    topic = broker.create_topic(2)
    broker.produce(topic, payloads(40))
    trim(broker, topic, 5)
    return kafka_home(tmp_path_factory.mktemp("gone"), broker, topic)


def replayed(home: Home, into: str, *bounds: str) -> dict[str, Any]:
    done = invoke(home, "replay", "user", "--into", into, "--json", *bounds)
    assert done.exit_code == 0, done.output
    [row] = json.loads(done.stdout.strip().splitlines()[-1])
    return dict(row)


def counts(row: dict[str, Any]) -> tuple[int, int | None, dict[str, int | None]]:
    """Rows written, offsets expired, and those of each partition."""
    gone = {p["partition"].partition("/")[2]: p["expired"] for p in row["partitions"]}
    return row["clean"] + row["quarantined"], row["expired"], gone


@real
def test_expired_offsets_of_a_range_are_counted_by_partition(home: Home) -> None:
    assert counts(replayed(home, "until", "--until-offset", "9")) == (4 + 9, 5, {"0": 5})
    assert counts(replayed(home, "all_gone", "--until-offset", "4")) == (4, 4, {"0": 4})


@real
def test_a_replay_without_bounds_lacks_nothing(home: Home) -> None:
    assert counts(replayed(home, "all")) == (35, 0, {})


@real
def test_a_second_run_does_not_guess_what_the_first_one_read(home: Home) -> None:
    replayed(home, "again", "--until-offset", "9")
    assert counts(replayed(home, "again", "--until-offset", "9")) == (0, None, {"0": None})


@real
def test_offsets_do_not_say_how_old_expired_records_were(home: Home) -> None:
    since = counts(replayed(home, "since", "--from-time", "2000-01-01"))
    assert since == (35, None, {"0": None})
    after = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    assert counts(replayed(home, "after", "--from-time", after)) == (0, 0, {})


@real
def test_the_summary_says_it_in_words(home: Home) -> None:
    done = invoke(home, "replay", "user", "--into", "words", "--until-offset", "9")
    last = done.output.strip().splitlines()[-1]
    assert last == "expired: 5 of the asked offsets are gone from the source"


@real
def test_a_first_offset_that_is_gone_is_refused_and_every_partition_named(home: Home) -> None:
    done = invoke(home, "replay", "user", "--into", "refused", "--from-offset", "2")
    assert isinstance(done.exception, RecordsExpired)
    assert "3 of" in done.exception.message
    assert "/0 before 5" in done.exception.message
    assert "--from-offset 5" in done.exception.hint
    assert counts(replayed(home, "later", "--from-offset", "5")) == (30, 0, {})


def test_a_stream_tells_no_more_than_that_records_may_be_gone(aws: TestAws, tmp_path: Path) -> None:
    stream = aws.stream()
    put(aws, stream, payloads(8))
    home = kinesis_home(tmp_path, aws, stream)
    row = kinesis.lacking(home.config, stream, span(until=NOW), NOW)
    assert row == []  # it is younger than its retention
    later = NOW + timedelta(hours=30)
    assert kinesis.lacking(home.config, stream, span(until=NOW), later) == [
        {"partition": stream, "first_offset": None, "expired": None}
    ]
    assert kinesis.lacking(home.config, stream, span(), later) == []
    since = span(since=later - timedelta(hours=1))
    assert kinesis.lacking(home.config, stream, since, later) == []


# --- pure


def span(
    first: int | None = None,
    last: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Window:
    return Window(first, last, since, until)


offsets = st.integers(0, 9)


@given(low=offsets, first=st.none() | offsets, last=offsets)
def test_what_is_gone_are_the_asked_offsets_below_the_first_one(
    low: int, first: int | None, last: int
) -> None:
    asked = set(range(first or 0, last))
    rows = expired.lacking(span(first, last), {P: low}, {P: first or 0}, {})
    assert sum(row["expired"] for row in rows) == len(asked & set(range(low)))


@given(low=offsets, first=offsets, last=st.none() | offsets, at=st.none() | offsets.map(Position))
def test_a_start_is_refused_if_and_only_if_an_offset_that_is_wanted_is_gone(
    low: int, first: int, last: int | None, at: Position | None
) -> None:
    wanted = range(max(first, at.number if at else 0), low if last is None else min(low, last))
    if wanted:
        with pytest.raises(RecordsExpired, match=f"{len(wanted)} of t/0 before {low}"):
            expired.refuse_expired(span(first, last), {P: low, Q: 0}, {P: at})
    else:
        expired.refuse_expired(span(first, last), {P: low, Q: 0}, {P: at})
