"""What verify cannot know it says, by name, and never calls complete."""

import json
import shutil
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import change, copied, invoke
from tests.support.consuming import consumed
from tests.support.processes import Home, kafka_home, kinesis_home, payloads, put

real = pytest.mark.real_broker
COUNT = 40


def said(home: Home, *arguments: str) -> tuple[int, str]:
    """Run `pinpip verify`; return its exit code and its last line."""
    done = invoke(home, "verify", *arguments)
    return done.exit_code, done.output.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def filled(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Tables of all that a topic holds."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT))
    home = kafka_home(tmp_path_factory.mktemp("filled"), broker, topic)
    return consumed(home, lambda: home.rows() == COUNT)


@pytest.fixture
def home(filled: Home, tmp_path: Path) -> Home:
    """Copy `filled`, so that a test may damage it."""
    return copied(filled, tmp_path / "copy")


def test_what_is_known_is_exit_code_0(home: Home) -> None:
    assert said(home) == (0, f"exactly once: {COUNT} rows, none missing, none twice")


def test_offline_the_line_says_that_unread_records_are_not_known(home: Home) -> None:
    code, line = said(home, "--offline")
    assert code == 0
    assert line.startswith(f"the tables agree: {COUNT} rows, none twice; whether the source holds")
    assert "none missing" not in line


@pytest.fixture
def away(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Return the same tables with a broker that does not respond."""
    change(home, "kafka/bootstrap.servers", "127.0.0.1:9")
    monkeypatch.setattr("consumers.kafka.client.REQUEST_TIMEOUT_S", 1.0)
    return home


def test_a_broker_that_is_away_leaves_the_end_unknown(away: Home) -> None:
    code, line = said(away)
    assert (code, line) == (4, f"not known whether any are missing: {COUNT} rows, none twice")
    [unknown] = away.examined()["unknown"]
    assert "no broker of 127.0.0.1:9 can be reached" in unknown["detail"]


def test_a_topic_that_does_not_exist_is_not_known(home: Home) -> None:
    change(home, "pipelines/user/source/topics", ["no-such-topic"])
    [unknown] = home.examined()["unknown"]
    assert unknown["where"] == "no-such-topic"
    assert said(home)[0] == 4


def test_a_difference_outweighs_what_is_not_known(away: Home) -> None:
    shutil.rmtree(away.uri("user_quarantine"))
    code, line = said(away)
    assert code == 3
    assert line.endswith(" differences found, 1 things are not known")


def test_what_a_partition_holds_back_is_not_known_when_nobody_told_its_end(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pinpip.connectors.kafka.high_watermarks", lambda *_: {})
    assert {row["held_back"] for row in home.examined()["by_partition"]} == {None}
    [tree] = json.loads(invoke(home, "status", "--json").output)
    assert {row["held_back"] for row in tree["partitions"]} == {None}


@real
def test_records_behind_an_open_transaction_are_held_back(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, payloads(COUNT))
    home = kafka_home(tmp_path, broker, topic)
    consumed(home, lambda: home.rows() == COUNT)
    producer = Producer(broker.properties | {"transactional.id": f"of {topic}"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in payloads(11):
        producer.produce(topic, value)
    producer.flush(20)
    tree = home.examined()
    assert (tree["held_back"], tree["findings"], tree["unknown"]) == (11, [], [])
    assert [row["held_back"] for row in tree["by_partition"]] == [11]
    whole = f"exactly once: {COUNT} rows, none missing, none twice"
    assert said(home, "--grace", "0") == (0, f"{whole}; 11 held back behind an open transaction")
    producer.commit_transaction(20)
    code, line = said(home, "--grace", "0")
    assert code == 3
    assert "held back" not in line


def test_unread_records_that_are_still_young_are_said(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT))
    home = kafka_home(tmp_path, broker, topic)
    consumed(home, lambda: home.rows() == COUNT)
    broker.produce(topic, payloads(5))
    assert said(home)[1].endswith("none twice; 5 not read yet")
    assert home.examined(60)["waiting"] == 5
    assert said(home, "--grace", "0")[0] == 3


# --- Kinesis


def test_a_stream_that_is_away_leaves_the_end_unknown(aws: TestAws, tmp_path: Path) -> None:
    stream = aws.stream()
    put(aws, stream, payloads(COUNT))
    home = kinesis_home(tmp_path, aws, stream)
    consumed(home, lambda: home.rows() == COUNT)
    assert said(home, "--grace", "0")[0] == 0
    put(aws, stream, payloads(25, since=COUNT))
    assert said(home)[1].endswith("none twice; 25 not read yet")
    assert said(home, "--grace", "0")[0] == 3
    aws.client("kinesis").delete_stream(StreamName=stream)
    tree = home.examined()
    assert tree["findings"] == []
    [unknown] = tree["unknown"]
    assert (unknown["where"], "not found" in unknown["detail"]) == (stream, True)
    assert said(home)[0] == 4


def test_the_children_of_a_shard_that_never_ends_are_looked_at(
    aws: TestAws, tmp_path: Path
) -> None:
    stream, client = aws.stream(1), aws.client("kinesis")
    put(aws, stream, payloads(COUNT))
    home = kinesis_home(tmp_path, aws, stream)
    consumed(home, lambda: home.rows() == COUNT)
    client.split_shard(
        StreamName=stream, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127)
    )
    for half in (0, 2**127):
        client.put_record(
            StreamName=stream, Data=payloads(1)[0], PartitionKey="k", ExplicitHashKey=str(half)
        )
    behind = {f["where"] for f in home.examined()["findings"] if f["kind"] == "behind"}
    assert behind
