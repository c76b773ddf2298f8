"""verify beside a real source: its first offsets and ends, and all of it read again."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from deltalake import DeltaTable

from consumers.kafka.offsets import misplaced
from consumers.kafka.watermarks import forgetful_topics
from core.batch import Partition, Position
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.processes import Home, kafka_home, kinesis_home, payloads, put, stop, until

real = pytest.mark.real_broker
COUNT = 6000


def with_archive(home: Home) -> Home:
    """Configure the same pipeline with a raw archive."""
    tree = yaml.safe_load(home.config_path.read_text(encoding="utf-8"))
    tree["pipelines"]["user"]["sinks"].append({"parquet": str(home.folder / "archive")})
    home.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return home


def consumed(home: Home, count: int) -> Home:
    """`home` after its consumer has taken so many records and was stopped."""
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() >= count, f"{count} rows, not {home.rows()}")
        assert stop(consumer) == 0
    return home


@pytest.fixture
def live(broker: Broker, tmp_path: Path) -> Home:
    """Tables and an archive of all that a topic holds."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT), key=b"key", headers=[("trace", b"\x00\xff")])
    return consumed(with_archive(kafka_home(tmp_path, broker, topic)), COUNT)


def kinds(tree: dict[str, Any]) -> set[str]:
    """Return the kinds of the findings."""
    return {finding["kind"] for finding in tree["findings"]}


def topic_of(home: Home) -> str:
    """Return the topic of the pipeline."""
    [topic] = home.config.pipeline("user").source.topics
    return str(topic)


def test_a_whole_topic_read_again_equals_tables_and_archive(live: Home) -> None:
    tree = live.verify("--reread", "--grace", "0")
    assert tree["findings"] == []
    wanted = {
        "records": COUNT,
        "rows": COUNT,
        "out_of_reach": 0,
        "expired": 0,
        "sample": None,
        "seed": None,
    }
    assert tree["reread"] == wanted
    assert sum(row["records"] for row in tree["archives"]) == COUNT
    said = live.run("verify", "--reread").stdout
    assert f"{COUNT:,} compared with the source, none different" in said


def test_a_row_changed_in_place_is_named_by_the_command(live: Home) -> None:
    table = DeltaTable(live.uri("user"))
    where = "_partition = 1 AND _offset = 7"
    assert table.update({"age": "99"}, predicate=where)["num_updated_rows"] == 1
    assert live.verify("--grace", "0")["findings"] == []
    done = live.run("verify", "user", "--reread", "--json")
    assert done.returncode == 3
    [finding] = json.loads(done.stdout)[0]["findings"]
    assert finding["kind"] == "different"
    assert finding["where"] == f"{topic_of(live)}/1"
    assert "7 (age is 99, not 30)" in finding["detail"]


def test_the_same_seed_draws_the_same_sample(live: Home) -> None:
    first, again = (live.verify("--sample", "3", "--seed", "5")["reread"] for _ in range(2))
    assert first["seed"] == again["seed"] == 5
    assert first["out_of_reach"] == 0
    assert 0 < first["rows"] == first["records"]
    other = live.run("verify", "--sample", "1")
    assert other.returncode == 0
    assert "Read again" in other.stdout


def test_a_sample_finds_a_damage_that_is_everywhere(live: Home) -> None:
    DeltaTable(live.uri("user")).update({"age": "99"})
    assert kinds(live.verify("--sample", "2")) == {"different"}


def test_reading_again_needs_the_source(live: Home) -> None:
    done = live.run("verify", "--offline", "--reread")
    assert done.returncode == 1
    assert "--offline does not ask the source" in done.stderr


@real
def test_records_that_retention_removed_are_out_of_reach(broker: Broker, live: Home) -> None:
    admin, where = AdminClient(broker.properties), TopicPartition(topic_of(live), 2, 500)
    admin.delete_records([where])[where].result(30)
    tree = live.verify("--reread", "--grace", "0")
    assert tree["findings"] == []
    assert tree["reread"]["out_of_reach"] == 500
    assert tree["reread"]["rows"] == COUNT - 500
    assert [row["first_offset"] for row in tree["by_partition"]] == [0, 0, 500, 0]


@real
def test_markers_and_aborted_records_are_gaps_and_no_finding(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic(1)
    with transactions(broker, topic) as transact:
        transact(payloads(10), commit=True)
        transact([b"aborted"] * 4, commit=False)
        transact(payloads(10, since=10), commit=True)
    home = with_archive(kafka_home(tmp_path, broker, topic))
    with home.running("consume", "user") as consumer:
        until(lambda: home.lag() == 0, "the position behind the last marker")
        assert stop(consumer) == 0
    tree = home.verify("--reread", "--grace", "0")
    assert tree["findings"] == []
    assert tree["reread"]["rows"] == 20
    [row] = tree["by_partition"]
    assert (row["read"], row["clean"], row["quarantined"], row["filtered"]) == (20, 19, 1, 0)
    assert (row["first_offset"], row["end"], row["position"], row["lag"]) == (0, 27, 27, 0)
    assert row["gaps"] == 7


@contextmanager
def transactions(broker: Broker, topic: str) -> Iterator[Any]:
    """Yield a function that writes values to partition 0 in one transaction."""
    producer = Producer(broker.properties | {"transactional.id": f"of {topic}"})
    producer.init_transactions(20)

    def transact(values: Sequence[bytes], *, commit: bool) -> None:
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, partition=0)
        producer.flush(20)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)

    yield transact


@real
def test_a_gap_that_no_entry_explains_any_more_is_settled_by_the_source(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic(1)
    with transactions(broker, topic) as transact:
        transact(payloads(10), commit=True)
        transact(payloads(10, since=10), commit=True)
    home = consumed(kafka_home(tmp_path, broker, topic), 20)
    for name in ("user", "user_quarantine"):
        DeltaTable(home.uri(name)).create_checkpoint()
        for path in Path(home.uri(name), "_delta_log").glob("*.json"):
            path.unlink()
    assert kinds(home.verify("--grace", "0")) == {"gap"}
    assert home.verify("--reread", "--grace", "0")["findings"] == []


@real
def test_what_compaction_removed_is_out_of_reach(broker: Broker, tmp_path: Path) -> None:
    settings = {
        "cleanup_policy": "compact",
        "segment_ms": "100",
        "min_cleanable_dirty_ratio": "0.001",
        "max_compaction_lag_ms": "100",
        "delete_retention_ms": "100",
    }
    topic = broker.create_topic(1, **settings)
    broker.produce(topic, payloads(100), key=b"same", partition=0)
    home = consumed(with_archive(kafka_home(tmp_path, broker, topic)), 100)
    broker.produce(topic, payloads(1, since=100), key=b"same", partition=0)
    consumed(home, 101)
    assert forgetful_topics(broker.properties, [topic]) == {topic}

    def compacted() -> bool:
        broker.produce(topic, payloads(1, since=101), key=b"same", partition=0)
        again = home.verify("--reread")
        assert again["findings"] == []
        return bool(again["reread"]["out_of_reach"])

    until(compacted, "compaction", 120)


def test_a_topic_that_is_not_compacted_forgets_nothing(broker: Broker) -> None:
    assert forgetful_topics(broker.properties, [broker.create_topic()]) == set()


def test_a_position_that_the_source_cannot_have_is_misplaced() -> None:
    watermarks = {Partition("t", n): (Position(10), Position(20)) for n in "0123"}
    positions = {Partition("t", "0"): Position(9), Partition("t", "1"): Position(21)}
    positions |= {Partition("t", "2"): Position(10), Partition("t", "3"): Position(20)}
    found = misplaced(positions | {Partition("t", "4"): Position(5)}, watermarks)
    assert [(partition.id, kind) for partition, kind, _ in found] == [
        ("0", "expired"),
        ("1", "position"),
        ("4", "position"),
    ]
    assert misplaced({Partition("gone", "0"): Position(5)}, watermarks) == []


@real
def test_a_topic_that_was_made_anew_is_a_finding(broker: Broker, live: Home) -> None:
    topic, admin = topic_of(live), AdminClient(broker.properties)
    admin.delete_topics([topic])[topic].result(30)
    until(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic's end")
    admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(30)
    until(lambda: topic in admin.list_topics(timeout=10).topics, "the topic's new life")
    tree = live.verify("--grace", "0", "--reread")
    assert kinds(tree) == {"position", "recreated"}
    assert len(tree["findings"]) == 4 + 1
    details = [f["detail"] for f in tree["findings"]]
    assert sum("the topic was re-created or truncated" in detail for detail in details) == 4
    assert sum("belongs to the topic with the id" in detail for detail in details) == 1


# --- Kinesis


@pytest.fixture(scope="module")
def stream(aws: TestAws, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Tables and an archive of all that a stream holds."""
    name = aws.stream()
    put(aws, name, payloads(1000))
    home = kinesis_home(tmp_path_factory.mktemp("stream"), aws, name)
    return consumed(with_archive(home), 1000)


def test_a_whole_stream_read_again_equals_tables_and_archive(stream: Home) -> None:
    tree = stream.verify("--reread", "--grace", "0")
    assert tree["findings"] == []
    assert (tree["reread"]["rows"], tree["reread"]["out_of_reach"]) == (1000, 0)
    assert {row["gaps"] for row in tree["by_partition"]} == {None}


def test_a_sample_of_a_stream_is_read_again(stream: Home) -> None:
    again = stream.verify("--sample", "2")["reread"]
    assert again["sample"] == 2
    assert again["rows"] == again["records"] > 0


def test_a_changed_row_of_a_stream_is_different(stream: Home, tmp_path: Path) -> None:
    damaged = Home(tmp_path)
    text = stream.config_path.read_text(encoding="utf-8")
    damaged.config_path.write_text(text, encoding="utf-8")
    tree = yaml.safe_load(text) | {"lake": {"root": str(tmp_path / "lake")}}
    damaged.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    shutil.copytree(stream.folder / "lake", tmp_path / "lake")
    DeltaTable(damaged.uri("user")).update({"age": "99"}, predicate="ind = 77")
    [finding] = damaged.verify("--reread")["findings"]
    assert finding["kind"] == "different"
    assert "age is 99, not 30" in finding["detail"]
