"""`mode: upsert` with real processes: the latest table is the view, also after kills."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.brokers import Broker
from tests.support.commands import change
from tests.support.processes import Home, kafka_home, payload, stop, until

real = pytest.mark.real_broker
KEYS = 20_000
MOMENTS = ["user_latest/*.parquet", "user_latest/_delta_log/*.json"]


def upserting(folder: Path, broker: Broker, topic: str) -> Home:
    """Make a home whose pipeline keeps the latest row per `ind`, a second behind."""
    home = kafka_home(folder, broker, topic, group_instance_id="one")
    for name, value in {"mode": "upsert", "key": "ind", "every": 1}.items():
        change(home, f"pipelines/user/{name}", value)
    return home


def send(broker: Broker, topic: str, first: int, count: int) -> None:
    """Send records whose keys repeat; their payloads name a round."""
    values = [payload(1 + n % KEYS) for n in range(first, first + count)]
    broker.produce(topic, [v for v in values if v.startswith(b"{")])


def wanted(home: Home) -> pl.DataFrame:
    """Group the append table and the tombstones of the quarantine by key."""
    ranks = ["_timestamp", "_topic", "_partition", "_offset"]
    dead = home.table("user_quarantine").filter(pl.col("reason") == "tombstone")
    gone = dead.select(pl.col("_key").cast(pl.Int64).alias("ind"), *ranks, gone=pl.lit(1))
    both = pl.concat([home.table(), gone], how="diagonal_relaxed")
    last = both.sort(ranks).group_by("ind").last()
    return last.filter(pl.col("gone").is_null()).drop("gone").sort("ind")


def assert_is_the_view(home: Home) -> None:
    done = home.run("latest", "user")
    assert done.returncode == 0, done.stderr
    found = home.table("user_latest").select(home.table().columns).sort("ind")
    assert found.equals(wanted(home).select(found.columns))
    assert found.height > 0


@real
def test_a_consumer_killed_within_its_steps_leaves_the_view(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic()
    home = upserting(tmp_path, broker, topic)
    send(broker, topic, 0, KEYS)
    for number, pattern in enumerate(MOMENTS, 1):
        before = home.files(pattern)
        with home.running("consume", "user") as consumer:
            send(broker, topic, number * 7000, KEYS)
            until(lambda b=before, p=pattern: home.files(p) > b, f"one more of {pattern}")  # type: ignore[misc]
            consumer.kill()
            consumer.wait()
    broker.produce(topic, [None], partition=0, key=b"17")
    with home.running("consume", "user") as consumer:
        until(lambda: home.lag() == 0, "all records")
        assert stop(consumer) == 0
    assert_is_the_view(home)
    assert 17 not in home.table("user_latest")["ind"]
    assert home.verify("--grace", "0")["findings"] == []


@real
def test_a_bounded_run_brings_it_up_to_date_and_the_command_finds_nothing_left(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    home = upserting(tmp_path, broker, topic)
    send(broker, topic, 0, 5000)
    assert home.run("consume", "--until-end").returncode == 0
    told: dict[str, Any] = json.loads(home.run("latest", "user", "--json").stdout)
    assert (told["rows"], told["steps"], told["rebuilt"]) == (0, 0, [])
    assert_is_the_view(home)


@real
def test_a_latest_table_that_cannot_be_written_never_stops_the_consumer(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    home = upserting(tmp_path, broker, topic)
    Path(home.uri("user_latest")).parent.mkdir(parents=True)
    Path(home.uri("user_latest")).write_text("not a folder", encoding="utf-8")
    send(broker, topic, 0, 5000)
    log = home.folder / "process.log"
    with home.running("consume", "user") as consumer:
        until(lambda: "latest not updated" in log.read_text(encoding="utf-8"), "a warning")
        send(broker, topic, 5000, 5000)
        until(lambda: home.lag() == 0, "all records")
        assert stop(consumer) == 0


@real
def test_two_members_share_one_latest_table(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic()
    home = upserting(tmp_path, broker, topic)
    change(home, "kafka/group.instance.id", None)
    send(broker, topic, 0, KEYS)
    with (
        home.running("consume", "user") as one,
        home.running("consume", "user", log="other.log") as other,
    ):
        for n in range(1, 4):
            before = home.files("user_latest/_delta_log/*.json")
            send(broker, topic, n * 5000, KEYS)
            until(
                lambda b=before: home.files("user_latest/_delta_log/*.json") > b,  # type: ignore[misc]
                "a step",
            )
        assert (stop(one), stop(other)) == (0, 0)
    assert_is_the_view(home)
