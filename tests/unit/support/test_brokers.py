"""The ladder of brokers that the tests stand on, and its rung of containers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from consumers.kafka.source import KafkaSource
from tests.contracts.source_contract import Recorder, numbered, opened, ordered, read, values
from tests.support import brokers
from tests.support.brokers import GIVEN, Broker, best_broker
from tests.support.containers import IMAGE, NoContainer, docker_answers, kafka_container

NOWHERE = "127.0.0.1:1/apache/kafka:none"  # no registry listens there


@pytest.fixture
def container() -> None:
    """Docker, or the test skipped; its first question is slow, so that only these tests ask it."""
    if not docker_answers():
        pytest.skip("no Docker daemon answers here")


@pytest.mark.usefixtures("container")
def test_a_container_of_kafka_keeps_the_records_of_a_transaction() -> None:
    with brokers.docker_broker() as broker:
        topic = broker.create_topic()
        writer = Producer(broker.properties | {"transactional.id": topic})
        writer.init_transactions(30)
        writer.begin_transaction()
        for value in numbered(8):
            writer.produce(topic, value)
        writer.commit_transaction(30)
        with opened(KafkaSource(broker.properties, [topic], topic), Recorder()) as source:
            assert ordered(values(read(source, 8))) == numbered(8)


@pytest.mark.usefixtures("container")
def test_an_image_that_cannot_be_pulled_is_named_with_the_reason() -> None:
    with pytest.raises(NoContainer, match=NOWHERE) as refused, kafka_container(NOWHERE):
        pytest.fail("it must not start")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (KeyError("HostConfig"), "KeyError: 'HostConfig'"),  # Ryuk's address, asked of podman 4
        (RuntimeError("port 8080 of Ryuk\nis closed"), "RuntimeError: port 8080 of Ryuk"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
    ],
)
@pytest.mark.usefixtures("container")
def test_whatever_fails_before_the_container_runs_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, reason: str
) -> None:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415  # slow to import

    def fails(_: DockerContainer) -> None:
        raise fault

    monkeypatch.setattr(DockerContainer, "start", fails)
    with pytest.raises(NoContainer) as refused, kafka_container():
        pytest.fail("it must not start")
    assert str(refused.value) == f"{IMAGE}: {reason}"


@pytest.mark.usefixtures("container")
def test_a_kafka_that_ends_at_once_shows_its_log() -> None:
    wrong = {"KAFKA_NODE_ID": "no number"}
    with pytest.raises(RuntimeError, match="no number"), kafka_container(**wrong):
        pytest.fail("it must not start")


@contextmanager
def broker(name: str) -> Iterator[Broker]:
    yield Broker("127.0.0.1:1", name, real=True)


@contextmanager
def unpullable() -> Iterator[Broker]:
    raise NoContainer("toomanyrequests")
    yield


@pytest.fixture
def rungs(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """All rungs hold, and none is chosen."""
    monkeypatch.delenv(GIVEN, raising=False)
    monkeypatch.setattr(brokers, "docker_answers", lambda: True)
    monkeypatch.setattr(brokers, "has_jars", lambda: True)
    monkeypatch.setattr(brokers, "docker_broker", lambda: broker("docker"))
    monkeypatch.setattr(brokers, "java_broker", lambda _: broker("jars"))
    monkeypatch.setattr(brokers, "mock_broker", lambda: broker("mock"))
    return monkeypatch


def best() -> str:
    with best_broker(Path()) as found:
        return found.name


@pytest.mark.parametrize(
    ("holds", "found"),
    [({"docker", "jars"}, "docker"), ({"docker"}, "docker"), ({"jars"}, "jars"), (set(), "mock")],
)
def test_the_first_rung_that_holds_is_taken(
    rungs: pytest.MonkeyPatch, holds: set[str], found: str
) -> None:
    rungs.setattr(brokers, "docker_answers", lambda: "docker" in holds)
    rungs.setattr(brokers, "has_jars", lambda: "jars" in holds)
    assert best() == found


@pytest.mark.parametrize("below", ["jars", "mock"])
def test_a_docker_that_cannot_pull_falls_to_the_next_rung_and_says_so(
    rungs: pytest.MonkeyPatch, below: str
) -> None:
    rungs.setattr(brokers, "docker_broker", unpullable)
    rungs.setattr(brokers, "has_jars", lambda: below == "jars")
    assert best() == f"{below} (Docker answers, but cannot start Kafka: toomanyrequests)"


@pytest.mark.parametrize("chosen", ["docker", "jars", "mock"])
def test_a_chosen_rung_is_taken(rungs: pytest.MonkeyPatch, chosen: str) -> None:
    rungs.setenv(GIVEN, chosen)
    rungs.setattr(brokers, "docker_answers", lambda: False)
    assert best() == chosen


def test_a_chosen_rung_that_does_not_hold_is_an_error(rungs: pytest.MonkeyPatch) -> None:
    rungs.setenv(GIVEN, "docker")
    rungs.setattr(brokers, "docker_broker", unpullable)
    with pytest.raises(NoContainer, match="toomanyrequests"):
        best()


def test_an_address_is_taken_as_it_is(rungs: pytest.MonkeyPatch) -> None:
    rungs.setenv(GIVEN, "broker.example:9092")
    with best_broker(Path()) as found:
        assert (found.bootstrap, found.real) == ("broker.example:9092", True)


def test_a_word_that_is_no_rung_is_refused(rungs: pytest.MonkeyPatch) -> None:
    rungs.setenv(GIVEN, "dokcer")
    with pytest.raises(ValueError, match="dokcer: write host:port, docker, jars or mock"):
        best()
