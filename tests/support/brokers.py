"""The best Kafka there is for tests, in DESIGN's order, and what tests do to it."""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pinpip.local.embedded import embedded_kafka
from pinpip.local.jars import version
from pinpip.local.java import KafkaProcess, SecuredListener, real_kafka
from tests.support.containers import IMAGE, NoContainer, docker_answers, kafka_container

GIVEN = "PINPIP_TEST_KAFKA"
MOCK_PARTITIONS = 4
SLOWEST = 60.0  # seconds for an answer of the broker on a busy machine
_ASK_AGAIN = {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}


@dataclass(frozen=True)
class Broker:
    """A running broker; `real` is False for librdkafka's mock cluster."""

    bootstrap: str
    name: str
    real: bool
    _producers: dict[str, Producer] = field(default_factory=dict)

    @property
    def properties(self) -> dict[str, Any]:
        """The start of any client's configuration."""
        return {"bootstrap.servers": self.bootstrap, "log_level": 2}

    @property
    def consumer_properties(self) -> dict[str, Any]:
        """The start of a group member's: the mock cluster lets a successor wait for a session."""
        fast = {"session.timeout.ms": 4500, "heartbeat.interval.ms": 300}
        return self.properties | ({} if self.real else fast)

    def create_topic(self, partitions: int = MOCK_PARTITIONS, **config: str) -> str:
        """Create a topic with a new name; the mock cluster has topics of four partitions only."""
        topic = f"t{uuid4().hex[:12]}"
        if self.real:
            config = {name.replace("_", "."): value for name, value in config.items()}
            admin = AdminClient(self.properties)
            admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(30)
            self._await(topic)
        elif partitions != MOCK_PARTITIONS:
            raise ValueError("the mock cluster makes topics of four partitions")
        else:
            self._producer().list_topics(topic, timeout=10)
        return topic

    def members(self, group: str) -> dict[str, int]:
        """How many partitions each member has, by id; none while the group is not at rest."""
        admin = AdminClient(self.properties)
        try:
            found = admin.describe_consumer_groups([group])[group].result(SLOWEST)
        except KafkaException as error:
            if error.args[0].code() in _ASK_AGAIN:
                return {}
            raise
        if found.state != ConsumerGroupState.STABLE:
            return {}
        return {m.member_id: len(m.assignment.topic_partitions) for m in found.members}

    def _await(self, topic: str) -> int:
        """How many partitions it has, once the broker that is asked knows what was created."""
        deadline = time.monotonic() + SLOWEST
        while not (
            found := self._producer().list_topics(topic, timeout=10).topics[topic]
        ).partitions:
            assert time.monotonic() < deadline, f"{topic} has not come up"
            time.sleep(0.01)
        return len(found.partitions)

    def produce(
        self,
        topic: str,
        values: Sequence[bytes | None],
        *,
        partition: int | None = None,
        **message: Any,
    ) -> None:
        """Store `values`, round the partitions unless one is named; durable on return."""
        producer, width = self._producer(), self._await(topic)
        for n, value in enumerate(values):
            where = n % width if partition is None else partition
            producer.produce(topic, value, partition=where, **message)
        if producer.flush(60):
            raise TimeoutError(f"{self.name} did not store {len(values)} records in 60 s")

    def _producer(self) -> Producer:
        if "plain" not in self._producers:
            own = {"linger.ms": 5, "queue.buffering.max.messages": 1_000_000}
            self._producers["plain"] = Producer(self.properties | own)
        return self._producers["plain"]


@contextmanager
def mock_broker() -> Iterator[Broker]:
    """Start librdkafka's mock cluster in this process."""
    with embedded_kafka() as bootstrap:
        yield Broker(bootstrap, "librdkafka's mock cluster", real=False)


@contextmanager
def docker_broker() -> Iterator[Broker]:
    """Apache Kafka in a container; NoContainer when Docker cannot give one."""
    with kafka_container() as bootstrap:
        yield Broker(bootstrap, f"a container of {IMAGE}", real=True)


@contextmanager
def java_broker(folder: Path) -> Iterator[Broker]:
    """Apache Kafka from Maven Central's jars."""
    with real_kafka(folder) as kafka:
        yield Broker(kafka.bootstrap, f"Apache Kafka {version()}, jars of Maven Central", real=True)


def has_jars() -> bool:
    """Whether this machine can fetch and run Kafka's jars."""
    return bool(shutil.which("java") and shutil.which("mvn"))


def is_from(*least: int) -> bool:
    """Whether the version of Kafka, as numbers, is at least this one."""
    return tuple(map(int, version().split("."))) >= least


@contextmanager
def own_kafka(folder: Path, **options: Any) -> Iterator[KafkaProcess]:
    """Start a real broker with `options` of real_kafka, or skip the tests."""
    if not has_jars():
        pytest.skip("needs a separate Apache Kafka: install Java and Maven")
    guard: SecuredListener | None = options.get("guard")
    if guard and guard.users and not is_from(3, 5):
        pytest.skip("Apache Kafka before 3.5 makes no SCRAM users when it formats its storage")
    with real_kafka(folder, **options) as kafka:
        yield kafka


@contextmanager
def frozen(kafka: KafkaProcess) -> Iterator[None]:
    """Stop the broker's process with SIGSTOP while the block runs."""
    assert kafka.pid is not None
    os.kill(kafka.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(kafka.pid, signal.SIGCONT)


@contextmanager
def best_broker(folder: Path) -> Iterator[Broker]:
    """Start the broker that PINPIP_TEST_KAFKA names, or the first that is available.

    It names an address, or one of the rungs `docker`, `jars` and `mock`.
    """
    given = os.environ.get(GIVEN, "")
    rungs = {"docker": docker_broker, "jars": lambda: java_broker(folder), "mock": mock_broker}
    if given in rungs:
        rung: AbstractContextManager[Broker] = rungs[given]()
    elif given and ":" not in given:
        raise ValueError(f"{GIVEN}={given}: write host:port, docker, jars or mock")
    elif given:
        rung = nullcontext(Broker(given, f"{GIVEN}={given}", real=True))
    else:
        rung = _ladder(folder)
    with rung as broker:
        yield broker


@contextmanager
def _ladder(folder: Path) -> Iterator[Broker]:
    """Docker, else the jars, else the mock cluster; the name says why it is not the first."""
    with ExitStack() as held:
        broker, why = _in_docker(held)
        if broker is None:
            broker = held.enter_context(java_broker(folder) if has_jars() else mock_broker())
        yield replace(broker, name=broker.name + why)


def _in_docker(held: ExitStack) -> tuple[Broker | None, str]:
    """Start a broker in a container, or return why there is none although Docker answers."""
    if not docker_answers():
        return None, ""
    try:
        return held.enter_context(docker_broker()), ""
    except NoContainer as error:
        return None, f" (Docker answers, but cannot start Kafka: {error})"
