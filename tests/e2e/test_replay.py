"""Replays: a range of a source again, in a separate table, equal to the live one."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

from consumers.kafka.replay import BoundedKafkaSource
from consumers.kafka.watermarks import unread_since
from consumers.window import Window
from core import kafka
from core.batch import KAFKA, Partition, Position, Records
from core.errors import RecordsExpired, SourceError
from core.merge import merge
from tests.contracts.source_contract import (
    Recorder,
    ends,
    numbered,
    opened,
    ordered,
    poll_until,
    rows,
    values,
)
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.processes import (
    Home,
    assert_same_tables,
    kafka_home,
    kinesis_home,
    payloads,
    put,
    stop,
    until,
    version,
)
from tests.support.topics import committed, trim
from tests.support.waiting import PATIENCE

real = pytest.mark.real_broker
COUNT = 60_000


def consumed(home: Home, count: int) -> Home:
    """`home` after its live consumer has taken everything and was stopped."""
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() >= count, "all rows")
        assert stop(consumer) == 0
    return home


@pytest.fixture(scope="module")
def live(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Write a whole topic to a live table and its quarantine."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT), key=b"key")
    return consumed(kafka_home(tmp_path_factory.mktemp("live"), broker, topic), COUNT)


def replayed(home: Home, into: str, *bounds: str) -> None:
    """Replay the pipeline, which must succeed."""
    done = home.run("replay", "user", "--into", into, *bounds)
    assert done.returncode == 0, done.stderr


def topic_of(home: Home) -> str:
    """Return the topic of the pipeline."""
    [topic] = home.config.pipeline("user").source.topics
    return str(topic)


def versions(home: Home, name: str) -> list[int]:
    """Return the versions of a table and its quarantine."""
    return [version(home.uri(name + suffix)) for suffix in ("", "_quarantine")]


# --- the command, on Kafka


@real
def test_a_replay_of_the_whole_topic_equals_the_live_table(live: Home) -> None:
    replayed(live, "whole")
    assert live.table("whole").height == COUNT - COUNT // 50
    assert_same_tables(live, "user", "whole")


@real
def test_a_second_run_changes_nothing(live: Home) -> None:
    replayed(live, "twice")
    before = versions(live, "twice")
    replayed(live, "twice")
    assert versions(live, "twice") == before
    assert_same_tables(live, "user", "twice")


@real
def test_a_replay_that_was_killed_goes_on_where_it_was(live: Home) -> None:
    with live.running("replay", "user", "--into", "killed") as process:
        until(lambda: live.files("killed/_delta_log/*.json") >= 2, "a commit with rows")
        process.kill()
        process.wait()
    held = live.table("killed").height
    assert 0 < held < COUNT - COUNT // 50
    replayed(live, "killed")
    assert_same_tables(live, "user", "killed")


@real
def test_a_replay_that_is_stopped_says_that_it_is_not_done(live: Home) -> None:
    with live.running("replay", "user", "--into", "stopped", log="stopped.log") as process:
        until(lambda: live.files("stopped/*.parquet") >= 1, "a file")
        assert stop(process) == 1
    assert "stopped before its end" in (live.folder / "stopped.log").read_text(encoding="utf-8")
    replayed(live, "stopped")
    assert_same_tables(live, "user", "stopped")


@real
def test_a_stretch_of_offsets_is_the_same_half_open_one_in_each_partition(live: Home) -> None:
    replayed(live, "offsets", "--from-offset", "1000", "--until-offset", "2500")
    for suffix in ("", "_quarantine"):
        within = pl.col(KAFKA.number).is_between(1000, 2500, closed="left")
        wanted = live.table("user" + suffix).filter(within)
        assert wanted.equals(live.table("offsets" + suffix))


@real
def test_another_stretch_into_the_same_table_is_refused(live: Home) -> None:
    replayed(live, "one", "--until-offset", "100")
    before = versions(live, "one")
    refused = live.run("replay", "user", "--into", "one", "--until-offset", "200")
    assert refused.returncode == 1
    assert "one already holds rows that this replay did not write" in refused.stderr
    assert "--into" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert versions(live, "one") == before


@real
def test_the_live_group_and_table_are_left_alone(live: Home) -> None:
    properties, group = kafka.properties(live.config), f"pinpip-{topic_of(live)}-user"
    before = committed(properties, group, [topic_of(live)]), versions(live, "user")
    replayed(live, "beside", "--until-offset", "500")
    assert (committed(properties, group, [topic_of(live)]), versions(live, "user")) == before


@real
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["usre", "--into", "x"], "did you mean 'user'?"),
        (["user", "--into", "user"], "user is a live table of user"),
        (["user", "--into", "user_quarantine"], "user_quarantine is a live table of user"),
    ],
)
def test_a_wrong_name_is_refused_in_one_line(
    live: Home, arguments: list[str], complaint: str
) -> None:
    before = versions(live, "user")
    refused = live.run("replay", *arguments)
    assert refused.returncode == 1
    assert complaint in refused.stderr
    assert len(refused.stderr.splitlines()) <= 2
    assert versions(live, "user") == before


@real
def test_a_stretch_of_time_is_cut_by_each_records_own_timestamp(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    minutes = [10, 30, 20, 50, 5, 20, 40, 29]
    for n, minute in enumerate(minutes):
        at = int((start + timedelta(minutes=minute)).timestamp() * 1000)
        broker.produce(topic, payloads(1, since=n + 1), partition=n % 2, timestamp=at)
    home = kafka_home(tmp_path, broker, topic)
    bounds = [(start + timedelta(minutes=minute)).isoformat() for minute in (20, 40)]
    replayed(home, "part", "--from-time", bounds[0], "--until-time", bounds[1])
    within = [n + 1 for n, minute in enumerate(minutes) if 20 <= minute < 40]
    assert sorted(home.table("part")["ind"]) == within


# --- the command, on Kinesis


@pytest.fixture(scope="module")
def stream(aws: TestAws, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, datetime]:
    """Write a stream to a live table; return the second in which its later half began to arrive."""
    name = aws.stream()
    put(aws, name, payloads(1000))
    middle = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    until(lambda: datetime.now(UTC) > middle, "the next second")
    put(aws, name, payloads(1000, since=1000))
    return consumed(kinesis_home(tmp_path_factory.mktemp("kinesis"), aws, name), 2000), middle


def test_a_replay_of_the_whole_stream_equals_the_live_table(
    stream: tuple[Home, datetime],
) -> None:
    home, _ = stream
    replayed(home, "whole")
    assert_same_tables(home, "user", "whole")
    before = versions(home, "whole")
    replayed(home, "whole")
    assert versions(home, "whole") == before


def test_a_replay_of_a_stream_begins_at_the_time_asked_for(stream: tuple[Home, datetime]) -> None:
    home, middle = stream
    replayed(home, "later", "--from-time", middle.isoformat())
    assert sorted(home.table("later")["ind"]) == [n for n in range(1000, 2000) if n % 50]


def test_a_stream_has_no_offsets(stream: tuple[Home, datetime]) -> None:
    home, _ = stream
    refused = home.run("replay", "user", "--into", "x", "--from-offset", "5")
    assert refused.returncode == 1
    assert "Kinesis has no offsets" in refused.stderr


# --- the bounded source


def bounded(
    broker: Broker, topic: str, window: Window | None = None, chunk: int = 1000
) -> BoundedKafkaSource:
    """Make a source over a window of `topic`."""
    return BoundedKafkaSource(broker.properties, [topic], "beside", window or Window(), chunk=chunk)


def everything(source: BoundedKafkaSource) -> list[Records]:
    """All that `source` gives until it is exhausted."""
    deadline = time.monotonic() + PATIENCE
    parts = []
    while not source.exhausted:
        assert time.monotonic() < deadline, f"{source.left} offsets are still to come"
        part = source.poll(0.2)
        parts += [part] if part is not None else []
    return parts


def read_all(broker: Broker, topic: str, window: Window | None = None) -> list[bytes]:
    """Return the values that a bounded source reads, sorted."""
    source = bounded(broker, topic, window)
    with opened(source, Recorder()):
        parts = everything(source)
    return ordered([value for part in parts for value in values(part)])


@real
def test_it_gives_what_was_there_when_it_was_opened_and_no_more(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.produce(topic, numbered(400))
    source = bounded(broker, topic, chunk=7)
    with opened(source, Recorder()):
        assert source.left == 400
        broker.produce(topic, numbered(100, since=400))
        parts = everything(source)
        assert source.left == 0
        assert source.poll(0) is None
    assert ordered(values(merge(parts))) == numbered(400)
    assert set(ends(merge(parts)).values()) == {Position(100)}


@real
def test_an_empty_topic_is_exhausted_at_once(broker: Broker) -> None:
    source = bounded(broker, broker.create_topic())
    with opened(source, Recorder()):
        assert poll_until(source, lambda _: source.exhausted) == []


@real
def test_a_topic_that_does_not_exist_is_named(broker: Broker) -> None:
    with pytest.raises(SourceError, match=r"there is no topic nowhere"):
        bounded(broker, "nowhere").open(Recorder())


def test_a_broker_that_knows_no_times_is_read_from_its_beginning(mock_broker: Broker) -> None:
    topic = mock_broker.create_topic()
    mock_broker.produce(topic, numbered(40))
    today = datetime.now(UTC)
    assert read_all(mock_broker, topic, Window(since=today - timedelta(days=1))) == numbered(40)
    assert read_all(mock_broker, topic, Window(since=today + timedelta(days=1))) == []


@real
def test_a_window_is_cut_to_what_the_partition_holds(broker: Broker) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, numbered(10))
    assert read_all(broker, topic, Window(3, 7)) == numbered(4, since=3)
    assert read_all(broker, topic, Window(7, 1000)) == numbered(3, since=7)
    assert read_all(broker, topic, Window(7, 3)) == []
    assert read_all(broker, topic, Window(1000, 2000)) == []


@real
def test_it_resumes_where_the_listener_is(broker: Broker) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, numbered(10))
    held = Recorder({Partition(topic, "0"): Position(6)})
    source = bounded(broker, topic, Window(2, 8))
    with opened(source, held):
        [part] = everything(source)
    assert ordered(values(part)) == numbered(2, since=6)


@real
def test_a_position_before_the_window_would_leave_a_gap(broker: Broker) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, numbered(10))
    held = Recorder({Partition(topic, "0"): Position(2)})
    with (
        opened(bounded(broker, topic, Window(5)), held) as source,
        pytest.raises(SourceError, match=r"/0 up to offset 2, the replay starts at 5"),
    ):
        source.poll(0)


@real
def test_a_window_whose_beginning_is_gone_is_refused(broker: Broker) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, numbered(10))
    trim(broker, topic, 4)
    assert read_all(broker, topic) == numbered(6, since=4)
    with (
        opened(bounded(broker, topic, Window(2)), Recorder()) as source,
        pytest.raises(RecordsExpired, match=r"starts at offset 4, but offset 2 is still wanted"),
    ):
        poll_until(source, lambda _: False)


@contextmanager
def transactions(broker: Broker) -> Iterator[Producer]:
    """Make a transactional producer."""
    producer = Producer(broker.properties | {"transactional.id": f"t{time.monotonic_ns()}"})
    producer.init_transactions(20)
    yield producer


def transact(producer: Producer, topic: str, found: list[bytes], *, commit: bool) -> None:
    """Write `found` to partition 0 in a transaction and end it."""
    producer.begin_transaction()
    for value in found:
        producer.produce(topic, value, partition=0)
    if commit:
        producer.commit_transaction(20)
    else:
        producer.flush(20)
        producer.abort_transaction(20)


@real
@pytest.mark.parametrize("commit_last", [True, False])
def test_aborted_records_never_appear_and_the_end_is_reached(
    broker: Broker, *, commit_last: bool
) -> None:
    topic = broker.create_topic(1)
    with transactions(broker) as producer:
        transact(producer, topic, numbered(5), commit=True)
        transact(producer, topic, [b"aborted"] * 5, commit=False)
        transact(producer, topic, numbered(5, since=5), commit=commit_last)
    wanted = numbered(10) if commit_last else numbered(5)
    assert read_all(broker, topic) == wanted


@real
def test_it_ends_before_a_transaction_that_is_still_open(broker: Broker) -> None:
    topic = broker.create_topic(1)
    with transactions(broker) as producer:
        transact(producer, topic, numbered(5), commit=True)
        producer.begin_transaction()
        producer.produce(topic, b"undecided", partition=0)
        producer.flush(20)
        assert read_all(broker, topic) == numbered(5)
        producer.abort_transaction(20)


@real
def test_a_partition_that_was_finished_is_read_again_after_a_seek(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.produce(topic, numbered(400))
    first = Partition(topic, "0")
    source = bounded(broker, topic)
    with opened(source, Recorder()):
        parts = everything(source)
        source.seek({first: Position(90)})
        assert not source.exhausted
        again = merge(everything(source))
    assert rows(parts) == 400
    assert again.frame[KAFKA.number].to_list() == list(range(90, 100))
    assert again.spans[first].start == Position(90)


@real
def test_a_seek_in_the_midst_of_reading_gives_nothing_twice(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.produce(topic, numbered(400))
    source = bounded(broker, topic, chunk=50)
    with opened(source, Recorder()):
        while (part := source.poll(0.2)) is None:
            pass
        source.seek(dict.fromkeys(Partition(topic, str(n)) for n in range(4)))
        parts = everything(source)
    assert part.frame.height
    assert ordered(values(merge(parts))) == numbered(400)


# --- what verify asks


def unread(broker: Broker, topic: str, position: int, older_than: datetime) -> dict[str, int]:
    """Lags of the partitions that are behind, all tables at `position`."""
    held = {Partition(topic, str(n)): Position(position) for n in range(4)}
    found = unread_since(broker.properties, [topic], "beside", held, older_than)
    return {partition.id: lag for partition, lag in found.items()}


@real
def test_only_unread_records_that_are_old_enough_count(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.produce(topic, numbered(40))
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert unread(broker, topic, 10, now) == {}
    broker.produce(topic, numbered(5), partition=2)
    now = datetime.now(UTC) + timedelta(seconds=1)
    assert unread(broker, topic, 10, now) == {"2": 5}
    assert unread(broker, topic, 10, now - timedelta(minutes=1)) == {}
    assert unread_since(broker.properties, [topic], "beside", {}, now) == (
        {Partition(topic, str(n)): 15 if n == 2 else 10 for n in range(4)}
    )


@real
def test_a_large_backlog_in_one_partition_does_not_hide_the_others(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.produce(topic, numbered(40_000))
    found = unread(broker, topic, 0, datetime.now(UTC) + timedelta(seconds=1))
    assert found == {str(n): 10_000 for n in range(4)}


@real
def test_what_was_aborted_is_not_unread(broker: Broker) -> None:
    topic = broker.create_topic()
    with transactions(broker) as producer:
        transact(producer, topic, [b"aborted"] * 3, commit=False)
    assert unread(broker, topic, 0, datetime.now(UTC) + timedelta(seconds=1)) == {}


@real
def test_unread_records_that_expired_are_an_error(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.produce(topic, numbered(40))
    trim(broker, topic, 7)
    with pytest.raises(RecordsExpired, match=r"starts at offset 7, but offset 3 is still wanted"):
        unread(broker, topic, 3, datetime.now(UTC))


@real
def test_verify_and_the_consumer_name_records_that_expired_unread(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    broker.produce(topic, payloads(40))
    home = consumed(kafka_home(tmp_path, broker, topic), 40)
    broker.produce(topic, payloads(40, since=40))
    trim(broker, topic, 15)
    findings = home.verify("--grace", "0")["findings"]
    [finding] = [found for found in findings if found["kind"] == "expired"]
    assert finding["where"] == f"{topic}/0"
    assert "now starts at offset 15, but offset 10 is still wanted" in finding["detail"]
    stopped = home.run("consume", "user")
    assert stopped.returncode == 1
    assert "now starts at offset 15, but offset 10 is still wanted" in stopped.stderr
