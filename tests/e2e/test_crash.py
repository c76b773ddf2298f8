"""Processes that are killed, frozen and stopped: each record is in the tables exactly once."""

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition
from moto.kinesis.models import KinesisBackend

from audit.verify import verify
from core.batch import Partition, Position
from pinpip.local.java import free_port
from pinpip.pipelines import tables_of
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.processes import (
    Home,
    assert_holds_once,
    kafka_home,
    kinesis_home,
    payloads,
    put,
    stop,
    until,
)
from tests.support.topics import committed

real = pytest.mark.real_broker
COUNT = 150_000

# Where a commit is when the process dies: its file is there and nothing refers to it; the clean
# rows are in and their rejects are not; the rejects are on their way.
MOMENTS = ["user/*.parquet", "user/_delta_log/*.json", "user_quarantine/*.parquet"]


@pytest.fixture(scope="module")
def topic(broker: Broker) -> str:
    """Create a topic and fill it before any consumer starts."""
    name = broker.create_topic()
    broker.produce(name, payloads(COUNT))
    return name


def more(home: Home, pattern: str, count: int = 2) -> Callable[[], bool]:
    """Whether `count` files have come that match `pattern`."""
    before = home.files(pattern)
    return lambda: home.files(pattern) >= before + count


# --- Kafka


@real
def test_a_kafka_consumer_killed_three_times_leaves_each_record_once(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    # A static member: the group knows it again at once after a kill.
    home = kafka_home(tmp_path, broker, topic, group_instance_id="one")
    for pattern in MOMENTS:
        come = more(home, pattern)
        with home.running("consume", "user") as consumer:
            until(come, f"two more of {pattern}")
            consumer.kill()
            consumer.wait()
        assert home.rows() < COUNT  # none yet where both files were uploaded side by side
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() >= COUNT, "all rows")
        assert stop(consumer) == 0
    assert_holds_once(home, payloads(COUNT))
    clean = home.table()
    assert (clean["ind"] == clean["_offset"] * 4 + clean["_partition"]).all()


@real
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_a_survivor_takes_over_from_a_member_that_falls_silent(
    broker: Broker, tmp_path: Path, blow: signal.Signals
) -> None:
    topic, count = broker.create_topic(), 60_000
    home = kafka_home(tmp_path, broker, topic)
    with (
        home.running("consume", "user", log="victim.log") as victim,
        home.running("consume", "user", log="survivor.log") as survivor,
    ):
        group = f"pinpip-{topic}-user"
        until(lambda: [*broker.members(group).values()] == [2, 2], "two members share")
        come = more(home, "user/_delta_log/*.json", 1)
        broker.produce(topic, payloads(count))
        until(come, "a commit")
        victim.send_signal(blow)
        assert home.rows() < count
        until(lambda: home.rows() >= count, "all rows")
        victim.send_signal(signal.SIGCONT)
        broker.produce(topic, payloads(4000, since=count))
        until(lambda: home.rows() >= count + 4000, "the later rows as well")
        assert stop(survivor) == 0
        assert blow == signal.SIGKILL or stop(victim) == 0
    assert_holds_once(home, payloads(count + 4000))


@real
def test_a_kafka_consumer_that_is_stopped_has_committed_what_it_says(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    home = kafka_home(tmp_path, broker, topic)
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() > 0, "rows")
        assert stop(consumer) == 0
    said = re.search(r"user: ([\d,]+) clean, ([\d,]+) quarantined", log_of(home))
    assert said is not None
    report = verify(tables_of(home.config, "user"))
    assert not report.findings
    held = [sum(t.clean for t in report.tallies), sum(t.quarantined for t in report.tallies)]
    assert [int(number.replace(",", "")) for number in said.groups()] == held
    assert 0 < sum(held) < COUNT


@real
def test_a_restarted_consumer_tells_its_group_where_the_tables_are(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    group = f"pinpip-{topic}-user"
    broker.produce(topic, payloads(400))
    home = kafka_home(tmp_path, broker, topic)
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() >= 400, "all rows")
        assert stop(consumer) == 0
    forgetful = Consumer(broker.properties | {"group.id": group})
    forgetful.commit(offsets=[TopicPartition(topic, n, 0) for n in range(4)], asynchronous=False)
    forgetful.close()
    held = {Partition(topic, str(n)): Position(100) for n in range(4)}
    with home.running("consume", "user") as consumer:
        until(lambda: committed(broker.properties, group, [topic]) == held, "the group to know")
        assert stop(consumer) == 0


@real
def test_a_consumer_stopped_while_its_lake_does_not_answer_ends_in_time_and_names_the_fault(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    home = kafka_home(tmp_path, broker, topic)
    tree = yaml.safe_load(home.config_path.read_text())
    tree["lake"]["root"] = "s3://nowhere/lake"
    nobody = {"endpoint_url": f"http://127.0.0.1:{free_port()}"}
    tree["aws"] = nobody | {"access_key_id": "local", "secret_access_key": "local"}
    home.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with home.running("consume", "user") as consumer:
        until(lambda: "outage" in log_of(home), "word of the outage")
        assert stop(consumer) == 1
    assert re.search(r"error: gave up after \d+ s: .*s3://nowhere/lake", log_of(home))


def log_of(home: Home) -> str:
    """Return the log of the last process."""
    return (home.folder / "process.log").read_text(encoding="utf-8")


# --- Kinesis


def test_a_kinesis_consumer_killed_three_times_leaves_each_record_once(
    aws: TestAws, tmp_path: Path
) -> None:
    stream, sent = aws.stream(), 0
    home = kinesis_home(tmp_path, aws, stream)

    def send() -> None:
        nonlocal sent
        put(aws, stream, payloads(500, since=sent))
        sent += 500

    for pattern in MOMENTS:
        with home.running("consume", "user") as consumer:
            for _ in range(2):
                come = more(home, pattern, 1)
                send()
                until(come, f"one more of {pattern}")
            consumer.kill()
            consumer.wait()
        send()
        assert 0 < home.rows() < sent
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() >= sent, "all rows")
        assert stop(consumer) == 0
    assert_holds_once(home, payloads(sent))


def test_a_kinesis_consumer_that_is_stopped_writes_all_that_it_has_read(
    aws: TestAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = aws.stream(shards=1)
    home = kinesis_home(tmp_path, aws, stream, max_wait=60, max_records=50_000)
    answers: list[int] = []
    get_records = KinesisBackend.get_records

    def spy(*arguments: Any, **named: Any) -> Any:
        found = get_records(*arguments, **named)
        answers.append(len(found[1]))
        return found

    monkeypatch.setattr(KinesisBackend, "get_records", spy)
    with home.running("consume", "user") as consumer:
        # A shard is asked five times a second at most: the first second is over, which waits for
        # no further records.
        until(lambda: len(answers) > 7, "calls without records")
        put(aws, stream, payloads(100))
        until(lambda: 100 in answers[:-1], "the call after the records")
        assert home.rows() == 0
        assert stop(consumer) == 0
    assert_holds_once(home, payloads(100))
