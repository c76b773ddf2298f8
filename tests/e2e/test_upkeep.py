"""Upkeep within `pinpip consume` (`maintain.every`) with real processes: kills and faults."""

import os
import re
import signal
from pathlib import Path

import pytest
import requests
from deltalake import DeltaTable

from pinpip.local.java import free_port
from tests.support.brokers import Broker
from tests.support.commands import change
from tests.support.processes import (
    Home,
    Process,
    assert_holds_once,
    kafka_home,
    payloads,
    stop,
    until,
)

real = pytest.mark.real_broker
MODULE = b"pinpip.cli.upkeep_turn"
SMALL = {"every": "1s", "target": "1MB", "memory": "64MiB"}


def keeping(folder: Path, broker: Broker, topic: str) -> Home:
    """Make a home whose consumer commits many small files, and maintains the table."""
    home = kafka_home(folder, broker, topic, group_instance_id="one")
    change(home, "maintain", SMALL)
    change(home, "batching", {"max_wait": 0.05})
    return home


def turns(parent: int | None = None) -> set[int]:
    """Return the processes that take a turn, those of one consumer or all."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (process / n for n in ("cmdline", "stat"))
            is_turn = MODULE in command.read_bytes()
            above = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if is_turn and parent in {None, above}:
            found.add(int(process.name))
    return found


def log_of(home: Home) -> str:
    return (home.folder / "process.log").read_text("utf-8")


def feed(home: Home, broker: Broker, topic: str, count: int, since: int = 0) -> None:
    """Send records a few at a time, each after the ones before are committed."""
    for n in range(since, since + count, 100):
        broker.produce(topic, payloads(100, since=n))
        until(lambda n=n: home.rows() >= n + 100, "a small commit")  # type: ignore[misc]


@real
def test_a_consumer_killed_beside_its_upkeep_leaves_each_record_once_in_few_files(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    home = keeping(tmp_path, broker, topic)
    for number in range(3):
        with home.running("consume", "user") as consumer:
            feed(home, broker, topic, 2000, since=2000 * number)
            until(lambda: bool(turns(consumer.pid)), "a turn")
            [turn] = turns(consumer.pid)
            consumer.kill()
            consumer.wait()
            until(lambda own=turn: own not in turns(), "the turn to end with its consumer", 10)  # type: ignore[misc]
    with home.running("consume", "user") as consumer:
        feed(home, broker, topic, 1000, since=6000)
        until(lambda: live_files(home) < 40, "the small files to be merged")
        assert stop(consumer) == 0
    assert_holds_once(home, payloads(7000))
    assert home.verify("--grace", "0")["findings"] == []
    assert home.files("user/_delta_log/*.json") > 40


def live_files(home: Home) -> int:
    return len(DeltaTable(home.uri("user")).file_uris())


@real
def test_upkeep_that_fails_is_told_and_counted_and_never_stops_the_consumer(
    broker: Broker, tmp_path: Path
) -> None:
    topic, port = broker.create_topic(), free_port()
    home = keeping(tmp_path, broker, topic)
    with home.running("consume", "user", "--metrics-port", str(port)) as consumer:
        feed(home, broker, topic, 600)
        until(lambda: counted(port, "upkeep_files", "merged") > 0, "a merge")
        until(lambda: counted(port, "upkeep_turns", "done") > 0, "the end of a turn")
        place = Path(home.uri("user"), "_pinpip", "maintainer.json")
        until(lambda: not place.exists(), "no turn at work")
        place.mkdir()
        until(lambda: counted(port, "upkeep_turns", "failed") > 0, "a turn that fails")
        assert "not maintained" in log_of(home)
        feed(home, broker, topic, 600, since=600)
        place.rmdir()
        done = counted(port, "upkeep_turns", "done")
        until(lambda: counted(port, "upkeep_turns", "done") > done, "a turn that does not")
        assert stop(consumer) == 0
    assert_holds_once(home, payloads(1200))


def counted(port: int, name: str, outcome: str) -> float:
    """Return the value of a counter at the metrics port."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    found = re.search(rf'^pinpip_{name}_total{{outcome="{outcome}",.*}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


@real
def test_a_turn_that_hangs_or_is_killed_holds_up_neither_consumer_nor_its_end(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    home = keeping(tmp_path, broker, topic)
    with home.running("consume", "user") as consumer:
        os.kill(a_turn(consumer), signal.SIGKILL)
        until(lambda: "its process ended with SIGKILL" in log_of(home), "a warning")
        frozen = a_turn(consumer)
        os.kill(frozen, signal.SIGSTOP)
        feed(home, broker, topic, 600)
        assert stop(consumer) == 0
        os.kill(frozen, signal.SIGCONT)
        until(lambda: frozen not in turns(), "the turn to end", 10)
    assert_holds_once(home, payloads(600))


def a_turn(consumer: Process) -> int:
    """Wait for a turn of the consumer, and return its process."""
    until(lambda: bool(turns(consumer.pid)), "a turn")
    return min(turns(consumer.pid))
