"""Transactional producers: only what they committed reaches the tables, and it does so once."""

import json
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from confluent_kafka import Producer

from tests.support.brokers import Broker
from tests.support.commands import change
from tests.support.processes import (
    Home,
    assert_holds_once,
    kafka_home,
    payload,
    payloads,
    stop,
    until,
)

pytestmark = pytest.mark.real_broker

PARTITIONS = 3


class Writer:
    """A transactional producer that writes round the partitions of one topic."""

    def __init__(self, broker: Broker, topic: str) -> None:
        own = {"transactional.id": uuid4().hex, "transaction.timeout.ms": 300_000}
        self._producer = Producer(broker.properties | own)
        self._topic = topic
        self._producer.init_transactions(60)

    def write(self, values: Sequence[bytes], partition: int | None = None) -> None:
        """Store `values` in a transaction that stays open."""
        self._producer.begin_transaction()
        for n, value in enumerate(values):
            where = n % PARTITIONS if partition is None else partition
            self._producer.produce(self._topic, value, partition=where)
        assert self._producer.flush(60) == 0

    def end(self, how: str) -> None:
        """Let the open transaction `commit` or `abort`."""
        done = {
            "commit": self._producer.commit_transaction,
            "abort": self._producer.abort_transaction,
        }
        done[how](60)


class Mix:
    """Rounds of committed, aborted and plain records, all between one another."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker, self._topic = broker, topic
        self._good, self._bad = Writer(broker, topic), Writer(broker, topic)
        self._count = 0
        self.kept: list[bytes] = []

    def rounds(self, count: int) -> None:
        """Store `count` rounds; what they keep is added to `kept`."""
        for _ in range(count):
            aborted, committed, plain, last = (self._next(n) for n in (20, 30, 10, 7))
            self._bad.write(aborted)
            self._good.write(committed)
            self._broker.produce(self._topic, plain)
            self._good.end("commit")
            self._broker.produce(self._topic, last)
            self._bad.end("abort")
            self.kept += committed + plain + last

    def _next(self, count: int) -> list[bytes]:
        self._count += count
        return payloads(count, since=self._count - count)


def archived(home: Home) -> list[bytes]:
    """Return the values in the archive, sorted."""
    files = list((home.folder / "archive").rglob("*.parquet"))
    return sorted(value for file in files for value in pl.read_parquet(file)["_value"])


def status(home: Home) -> dict[int, dict[str, int]]:
    """Return what `pinpip status` prints for each partition."""
    done = home.run("status", "--json")
    assert done.returncode == 0, done.stderr
    [tree] = json.loads(done.stdout)
    return {int(row["partition"].rsplit("/", 1)[1]): row for row in tree["partitions"]}


def test_only_committed_records_reach_table_and_archive_through_a_kill(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic(PARTITIONS)
    home = kafka_home(tmp_path, broker, topic, group_instance_id="one")
    sinks = [{"delta": "user"}, {"parquet": str(tmp_path / "archive"), "stage": "raw"}]
    change(home, "pipelines/user/sinks", sinks)
    mix = Mix(broker, topic)
    with home.running("consume", "user") as consumer:
        mix.rounds(4)
        until(lambda: home.rows() > 0, "a commit")
        mix.rounds(1)
        consumer.kill()
        consumer.wait()
    mix.rounds(4)
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() == len(mix.kept), "all committed rows")
        mix.rounds(2)
        until(lambda: home.rows() == len(mix.kept), "the later ones")
        until(lambda: all_read(home), "the positions to pass the last markers")
        assert stop(consumer) == 0
    assert_holds_once(home, mix.kept)
    assert archived(home) == sorted(mix.kept)


def all_read(home: Home) -> bool:
    """Whether every partition's position is its very end, the markers of transactions included."""
    rows = status(home).values()
    return all(row["position"] == row["end"] and not row["held_back"] for row in rows)


@pytest.mark.parametrize("how", ["commit", "abort"])
def test_an_open_transaction_holds_its_partition_back_and_status_says_so(
    broker: Broker, tmp_path: Path, how: str
) -> None:
    topic = broker.create_topic(PARTITIONS)
    home, writer = kafka_home(tmp_path, broker, topic), Writer(broker, topic)
    before, held, behind, free = ([payload(n)] for n in (1, 2, 3, 4))
    broker.produce(topic, before, partition=0)
    writer.write(held, partition=0)
    broker.produce(topic, behind, partition=0)
    broker.produce(topic, free, partition=1)
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() == 2, "what is not behind the transaction")
        assert home.table()["ind"].sort().to_list() == [1, 4]
        rows = status(home)
        assert [rows[n]["held_back"] for n in range(PARTITIONS)] == [2, 0, 0]
        assert [rows[n]["lag"] for n in range(PARTITIONS)] == [0, 0, 0]
        assert home.verify("--grace", "0")["findings"] == []
        writer.end(how)
        kept = before + behind + free + (held if how == "commit" else [])
        until(lambda: home.rows() == len(kept), "what was held back")
        assert stop(consumer) == 0
    assert_holds_once(home, kept)
    assert status(home)[0]["held_back"] == 0
