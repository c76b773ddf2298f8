"""History of Kafka Connect's S3 sink: into a table of its own, and before a live table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from core.batch import KAFKA, Partition
from core.errors import ConfigError, PinpipError, RecordsExpired, TopicRecreated
from sinks.storage.protocol import Store
from sinks.storage.store import FolderStore, open_store
from tests.support.archives import archived, change_pipeline
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import invoke
from tests.support.connect_folder import export, put
from tests.support.processes import (
    Home,
    assert_holds_once,
    assert_same_tables,
    kafka_home,
    kinesis_home,
    payloads,
    stop,
    until,
    version,
)
from tests.support.topics import trim

COUNT = 400
PARTITIONS = 4
KNOWN = [name for name in KAFKA.metadata if name not in {"_key", "_timestamp"}]
pytestmark = pytest.mark.process


def parts(values: Sequence[bytes]) -> list[list[bytes]]:
    """Return the values as `Broker.produce` spreads them."""
    return [list(values[n::PARTITIONS]) for n in range(PARTITIONS)]


def consumed(home: Home, count: int) -> Home:
    """`home` after its live consumer has taken everything and was stopped."""
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() >= count, "all rows")
        assert stop(consumer) == 0
    return home


def imported(home: Home, place: str, *options: str) -> dict[str, Any]:
    """Import the history; return what the command says."""
    done = invoke(home, "replay", "user", "--from-connect", place, "--json", *options)
    assert done.exit_code == 0, done.output
    [row] = json.loads(done.stdout.strip().splitlines()[-1])
    return dict(row)


def refused(home: Home, place: str, *options: str) -> PinpipError:
    """Return the error of an import that writes nothing."""
    before = home.files("**/*.json")
    done = invoke(home, "replay", "user", "--from-connect", place, *options)
    assert isinstance(done.exception, PinpipError), done.output
    assert home.files("**/*.json") == before
    return done.exception


def expire(broker: Broker, topic: str, before: int) -> None:
    """Delete the first records of each partition."""
    for partition in range(PARTITIONS):
        trim(broker, topic, before, partition)


def contents(home: Home, name: str) -> pl.DataFrame:
    """All of a table but what the connector's objects do not have."""
    return home.table(name).drop("_key", "_timestamp")


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, aws: TestAws, tmp_path: Path) -> Store:
    """Make an empty place for the connector."""
    uri = f"s3://{aws.bucket()}/topics" if request.param == "bucket" else str(tmp_path / "topics")
    return open_store(uri, aws.config)


def with_aws(home: Home, aws: TestAws) -> Home:
    """Add the section that names moto's server."""
    tree = yaml.safe_load(home.config_path.read_text(encoding="utf-8"))
    keys = {"access_key_id": "local", "secret_access_key": "local"}
    tree["aws"] = {"endpoint_url": aws.endpoint, **keys}
    home.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return home


@pytest.mark.real_broker
@pytest.mark.parametrize("kind", ["json", "json.gz"])
def test_the_history_and_the_topic_join_without_a_gap_or_a_double(
    broker: Broker, aws: TestAws, place: Store, tmp_path: Path, kind: str
) -> None:
    topic = broker.create_topic()
    values = payloads(2 * COUNT)
    broker.produce(topic, values[:COUNT], key=b"key")
    export(place, topic, parts(values[:COUNT]), kind)
    expire(broker, topic, 70)
    home = with_aws(archived(tmp_path, broker, topic), aws)
    row = imported(home, place.uri)
    assert (row["clean"] + row["quarantined"], row["expired"]) == (4 * 70, 0)
    assert imported(home, place.uri)["why"].startswith("nothing was left to do")
    broker.produce(topic, values[COUNT:], key=b"key")
    consumed(home, 2 * COUNT)
    assert_holds_once(home, values)
    tree = home.examined(0.0)
    assert (tree["findings"], tree["unknown"]) == ([], [])
    table = home.table()
    old = pl.col(KAFKA.number) < 70
    assert table.filter(old)["_key"].null_count() == table.filter(old).height
    assert set(table.filter(~old)["_key"]) == {"key"}
    replayed = home.run("replay", "user", "--into", "again", "--from-archive")
    assert replayed.returncode == 0, replayed.stderr
    assert_same_tables(home, "user", "again")


@pytest.mark.real_broker
def test_a_table_of_its_own_equals_the_live_table(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic()
    values = payloads(COUNT)
    broker.produce(topic, values)
    store = FolderStore(tmp_path / "topics")
    export(store, topic, parts(values))
    home = consumed(kafka_home(tmp_path, broker, topic), COUNT)
    imported(home, store.uri, "--into", "own")
    for suffix in ("", "_quarantine"):
        assert contents(home, "own" + suffix).equals(contents(home, "user" + suffix))
    before = version(home.uri("own"))
    imported(home, store.uri, "--into", "own")
    assert version(home.uri("own")) == before
    imported(home, store.uri, "--into", "cut", "--from-offset", "30", "--until-offset", "60")
    within = pl.col(KAFKA.number).is_between(30, 60, closed="left")
    assert contents(home, "cut").equals(contents(home, "user").filter(within))


@pytest.mark.real_broker
def test_an_import_that_was_killed_goes_on_where_it_was(broker: Broker, tmp_path: Path) -> None:
    topic, many = broker.create_topic(), 60_000
    values = payloads(many)
    broker.produce(topic, values)
    store = FolderStore(tmp_path / "topics")
    for number, own in enumerate(parts(values)):
        for first in range(0, len(own), 1_000):
            partition = Partition(topic, str(number))
            put(store, partition, first, own[first : first + 1_000])
    expire(broker, topic, many // PARTITIONS)
    home = archived(tmp_path, broker, topic)
    with home.running("replay", "user", "--from-connect", store.uri) as process:
        until(lambda: home.files("user/*.parquet") >= 1 or process.poll() is not None, "a file")
        process.kill()
        process.wait()
    assert home.rows() < many
    imported(home, store.uri)
    assert home.rows() == many
    broker.produce(topic, payloads(400, since=many))
    consumed(home, many + 400)
    assert_holds_once(home, [*values, *payloads(400, since=many)])
    tree = home.examined(0.0)
    assert (tree["findings"], tree["unknown"]) == ([], [])


@pytest.mark.real_broker
def test_a_history_that_the_topic_does_not_join_is_refused(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic()
    values = payloads(COUNT)
    broker.produce(topic, values)
    home = kafka_home(tmp_path, broker, topic)
    short, far = FolderStore(tmp_path / "short"), FolderStore(tmp_path / "far")
    export(short, topic, parts(values[:200]))
    export(far, topic, parts(payloads(COUNT + 4)))
    expire(broker, topic, 60)
    error = refused(home, short.uri)
    assert isinstance(error, RecordsExpired)
    assert f"offsets 50 to 59 of {topic}/0" in error.message
    error = refused(home, far.uri)
    assert isinstance(error, TopicRecreated)
    assert "ends at offset 101, the topic has 100 offsets" in error.message
    assert "--into" in error.hint


@pytest.mark.real_broker
def test_another_topic_of_that_name_is_found_by_its_records(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic()
    broker.produce(topic, payloads(4 * COUNT, since=9_000))
    store = FolderStore(tmp_path / "topics")
    export(store, topic, parts(payloads(COUNT)))
    expire(broker, topic, 90)
    error = refused(kafka_home(tmp_path, broker, topic), store.uri)
    assert isinstance(error, TopicRecreated)
    assert f"offset 90 of {topic}/0 is another record" in error.message


@pytest.mark.real_broker
def test_a_table_that_began_after_the_history_is_refused(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic()
    values = payloads(COUNT)
    broker.produce(topic, values)
    store = FolderStore(tmp_path / "topics")
    export(store, topic, parts(values))
    expire(broker, topic, 50)
    home = consumed(kafka_home(tmp_path, broker, topic), 200)
    error = refused(home, store.uri)
    assert isinstance(error, ConfigError)
    assert f"begins at offset 50 of {topic}/0, the history at 0" in error.message


@pytest.mark.real_broker
def test_what_expires_after_an_import_is_imported_by_the_next(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    values = payloads(COUNT)
    broker.produce(topic, values)
    store = FolderStore(tmp_path / "topics")
    export(store, topic, parts(values))
    home = kafka_home(tmp_path, broker, topic)
    expire(broker, topic, 20)
    assert imported(home, store.uri)["clean"] == 80 - 2
    expire(broker, topic, 60)
    stopped = home.run("consume", "user", "--until-end")
    assert stopped.returncode == 1
    assert "offset 20 is still wanted" in stopped.stderr
    assert imported(home, store.uri)["clean"] + 78 == 240 - 5
    consumed(home, COUNT)
    assert_holds_once(home, values)


@pytest.mark.real_broker
def test_what_was_before_the_history_is_named(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic()
    values = payloads(COUNT)
    broker.produce(topic, values)
    store = FolderStore(tmp_path / "topics")
    for number, own in enumerate(parts(values)[:3]):
        put(store, Partition(topic, str(number)), 10, own[10:])
    expire(broker, topic, 40)
    home = kafka_home(tmp_path, broker, topic)
    row = imported(home, store.uri)
    lacking = [(p["partition"], p["first_offset"]) for p in row["partitions"]]
    assert lacking == [(f"{topic}/{n}", 40 if n == 3 else 10) for n in range(4)]
    consumed(home, 3 * 90 + 60)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--into", "x", "--from-time", "2026-01-01"), "have no timestamps"),
        (("--from-offset", "3"), "a live table takes the whole history"),
        (("--into", "x"), "holds no objects of nothing"),
        (("--into", "x", "--from-archive"), "--from-archive"),
    ],
)
def test_what_cannot_be_imported_is_one_error(
    mock_broker: Broker, tmp_path: Path, options: tuple[str, ...], complaint: str
) -> None:
    home = kafka_home(tmp_path, mock_broker, "nothing")
    put(FolderStore(tmp_path / "topics"), Partition("other", "0"), 0, payloads(1))
    done = home.run("replay", "user", "--from-connect", str(tmp_path / "topics"), *options)
    assert done.returncode in {1, 2}
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pipeline_that_tests_keys_is_refused(mock_broker: Broker, tmp_path: Path) -> None:
    home = kafka_home(tmp_path, mock_broker, "t")
    change_pipeline(home, source={"topics": ["t"], "where": {"key": "a"}})
    error = refused(home, str(tmp_path), "--into", "x")
    assert "user tests key, which the connector's objects do not have" in error.message


def test_a_stream_has_no_such_history(aws: TestAws, tmp_path: Path) -> None:
    error = refused(kinesis_home(tmp_path, aws, "s"), str(tmp_path), "--into", "x")
    assert "user reads a stream" in error.message


def test_a_replay_into_nothing_is_refused(mock_broker: Broker, tmp_path: Path) -> None:
    done = kafka_home(tmp_path, mock_broker, "t").run("replay", "user")
    assert done.returncode == 2
    assert "--into" in done.stderr
