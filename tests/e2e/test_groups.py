"""Members of one group: static, cooperative, by both protocols, killed, joining and mistaken."""

import signal
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from consumers.engine.loop import Loop
from core.batch import Partition
from core.clock import SystemClock
from pinpip.pipelines import loop_of
from tests.support.brokers import Broker, is_from, own_kafka
from tests.support.commands import change, the_error
from tests.support.processes import (
    Home,
    Process,
    assert_holds_once,
    kafka_home,
    payloads,
    stop,
    until,
)

SESSION = 6000  # milliseconds until a silent member is given up; a busy machine needs some
LONG = 300_000  # longer than any test waits
PROTOCOLS = ["classic", *(["consumer"] if is_from(4) else [])]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Start a broker whose KIP-848 sessions time out after six seconds."""
    properties = {
        "group.consumer.session.timeout.ms": str(SESSION),
        "group.consumer.min.session.timeout.ms": str(SESSION),
        "group.consumer.heartbeat.interval.ms": "500",
        "group.consumer.min.heartbeat.interval.ms": "500",
    }
    with own_kafka(tmp_path_factory.mktemp("groups"), properties=properties) as kafka:
        yield Broker(kafka.bootstrap, "Apache Kafka of its own", real=True)


def home_of(folder: Path, broker: Broker, topic: str, protocol: str, **own: object) -> Home:
    """Make a home whose member speaks `protocol` with `own` properties."""
    home = kafka_home(folder, broker, topic)
    timing: dict[str, object] = {"session.timeout.ms": SESSION, "heartbeat.interval.ms": 300}
    properties = timing if protocol == "classic" else {"group.protocol": "consumer"}
    properties |= {name.replace("_", "."): value for name, value in own.items()}
    change(home, "kafka", {"bootstrap.servers": broker.bootstrap, **properties})
    return home


@dataclass
class Watched:
    """A member in this process, and what its group told it."""

    events: list[tuple[str, int]] = field(default_factory=list)
    held: set[Partition] = field(default_factory=set)

    def note(self, event: str, partitions: Collection[Partition]) -> None:
        """Remember an event and what is held after it."""
        self.events.append((event, len(partitions)))
        self.held = (
            self.held | set(partitions) if event == "assigned" else self.held - set(partitions)
        )

    def moves(self) -> list[tuple[str, int]]:
        """Return the events that moved partitions: cooperative rebalances add empty ones."""
        return [event for event in self.events if event[1]]


@contextmanager
def watching(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Run the pipeline of `home` in a thread while the block runs."""
    watched = Watched()

    def noting(event: str, told: Any) -> Any:
        def call(self: Loop, partitions: Collection[Partition]) -> Any:
            watched.note(event, partitions)
            return told(self, partitions)

        return call

    for event in ("assigned", "revoked"):
        monkeypatch.setattr(Loop, event, noting(event, getattr(Loop, event)))
    with ThreadPoolExecutor(2) as threads:
        loop = loop_of(home.config, "user", SystemClock(), threads)
        running = threads.submit(loop.run)
        try:
            yield watched
        finally:
            loop.stop()
            running.result(30)


class Feed:
    """Payloads of a topic, each different from all before."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker, self._topic = broker, topic
        self.sent: list[bytes] = []

    def more(self, count: int) -> int:
        """Store `count` further payloads; how many there are now."""
        values = payloads(count, since=len(self.sent))
        self._broker.produce(self._topic, values)
        self.sent += values
        return len(self.sent)


def killed(process: Process) -> None:
    """End it as a power cut would."""
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_that_join_and_die_move_only_their_own_share(
    quick: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    topic = quick.create_topic()
    home, feed = home_of(tmp_path, quick, topic, protocol), Feed(quick, topic)
    with watching(home, monkeypatch) as survivor:
        until(lambda: len(survivor.held) == 4, "all four partitions")
        with home.running("consume", "user") as victim:
            until(lambda: len(survivor.held) == 2, "the other member's share")
            total = feed.more(20_000)
            until(lambda: home.rows() > 0, "a commit")
            killed(victim)
        until(lambda: len(survivor.held) == 4, "the dead member's share back")
        total = feed.more(2000)
        until(lambda: home.rows() == total, "all rows")
        with home.running("consume", "user") as third:
            until(lambda: len(survivor.held) == 2, "the third member's share")
            total = feed.more(2000)
            until(lambda: home.rows() == total, "the later rows")
            assert stop(third) == 0
    came_and_went = [("assigned", 4), ("revoked", 2), ("assigned", 2), ("revoked", 2)]
    assert survivor.moves()[:4] == came_and_went
    assert_holds_once(home, feed.sent)


def test_a_static_member_that_comes_back_gets_its_share_and_nobody_else_is_asked(
    quick: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = quick.create_topic()
    static = {"session_timeout_ms": LONG}
    home = home_of(tmp_path, quick, topic, "classic", group_instance_id="one", **static)
    other = home_of(tmp_path / "b", quick, topic, "classic", group_instance_id="two", **static)
    change(other, "lake/root", str(tmp_path / "lake"))
    feed = Feed(quick, topic)
    with watching(home, monkeypatch) as survivor:
        until(lambda: len(survivor.held) == 4, "all four partitions")
        with other.running("consume", "user") as victim:
            until(lambda: len(survivor.held) == 2, "the other member's share")
            feed.more(20_000)
            until(lambda: home.rows() > 0, "a commit")
            killed(victim)
        told = survivor.moves()
        total = feed.more(2000)
        with other.running("consume", "user") as again:
            until(lambda: home.rows() == total, "all rows, long before the session is over")
            assert survivor.moves() == told
            assert stop(again) == 0
    assert_holds_once(home, feed.sent)


@pytest.mark.skipif(is_from(4), reason="Apache Kafka 4 has the new group protocol")
def test_an_old_broker_is_named_as_too_old_for_the_new_protocol(
    quick: Broker, tmp_path: Path
) -> None:
    home = home_of(tmp_path, quick, quick.create_topic(), "consumer")
    assert "too old for group.protocol: consumer" in the_error(home.run("consume"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_whoever_reads_beside_a_member_leaves_its_group_alone(
    quick: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    topic = quick.create_topic()
    home = home_of(tmp_path, quick, topic, protocol, group_instance_id="one")
    feed = Feed(quick, topic)
    with watching(home, monkeypatch) as member:
        total = feed.more(200)
        until(lambda: home.rows() == total, "all rows")
        group = quick.members(f"pinpip-{topic}-user")
        assert home.verify("--grace", "0", "--reread")["findings"] == []
        assert home.run("replay", "user", "--into", "again").returncode == 0
        assert quick.members(f"pinpip-{topic}-user") == group
        total = feed.more(200)
        until(lambda: home.rows() == total, "the later rows")
    assert member.moves() == [("assigned", 4), ("revoked", 4)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_of_two_processes_with_one_instance_id_one_stops_with_a_clear_error(
    quick: Broker, tmp_path: Path, protocol: str
) -> None:
    topic = quick.create_topic()
    home = home_of(tmp_path, quick, topic, protocol, group_instance_id="one")
    feed = Feed(quick, topic)
    with home.running("consume", "user", log="older.log") as older:
        total = feed.more(2000)
        until(lambda: home.rows() == total, "the older one's rows")
        with home.running("consume", "user", log="younger.log") as younger:
            processes = {"older": older, "younger": younger}
            until(lambda: any(p.poll() is not None for p in processes.values()), "one to end")
            [name] = [n for n, p in processes.items() if p.poll() is not None]
            assert name == ("older" if protocol == "classic" else "younger")
            assert processes.pop(name).poll() == 1
            said = (tmp_path / f"{name}.log").read_text(encoding="utf-8")
            assert "error: Kafka refuses" in said
            assert "next:  another process has this kafka.group.instance.id" in said
            assert "Traceback" not in said
            total = feed.more(2000)
            until(lambda: home.rows() == total, "the other one to go on")
            assert stop(processes.popitem()[1]) == 0
    assert_holds_once(home, feed.sent)
