"""Apache Kafka in a container, by the variables that its official image documents.

Source: https://hub.docker.com/r/apache/kafka. Once one KAFKA_ variable is given, the image's own
server.properties no longer applies: all that a node needs is given.
"""

import gc
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pinpip.local.jars import version
from pinpip.local.java import START_TIMEOUT_S, free_port

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

IMAGE = f"apache/kafka:{version()}"
_CLIENTS, _ITSELF, _CONTROLLER = 9092, "ITSELF://localhost:9094", "CONTROLLER://localhost:9093"
_LINES = 40  # of the container's log, when it does not start


class NoContainer(Exception):
    """Docker does not answer, or cannot get the image or create the container."""


def docker_answers() -> bool:
    """Whether a Docker daemon, or what speaks its language, answers here."""
    from docker.errors import DockerException  # noqa: PLC0415  # slow to import
    from testcontainers.core.docker_client import DockerClient  # noqa: PLC0415

    answers = False
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        with suppress(DockerException, OSError), closing(DockerClient().client) as client:
            answers = bool(client.ping())
        gc.collect()  # of the socket that docker-py leaves open when nobody answers
    return answers


@contextmanager
def kafka_container(image: str = IMAGE, **more: str) -> Iterator[str]:
    """Start a node in a container of `image`, configured by `more`; yield its bootstrap servers.

    Raises NoContainer when Docker cannot pull or create it, RuntimeError with the end of its log
    when it runs and Kafka does not answer.
    """
    from docker.errors import DockerException  # noqa: PLC0415  # slow to import
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415

    container: DockerContainer | None = None
    try:
        try:
            container = DockerContainer(image)
            address = _published(container, more)
            container.start()
        except (DockerException, RuntimeError, LookupError, OSError) as error:  # Ryuk's as well
            raise NoContainer(f"{image}: {_first_line(error)}") from error
        _await_answer(container, address)
        yield address
    finally:
        if container is not None:
            container.stop()


def _published(container: "DockerContainer", more: Mapping[str, str]) -> str:
    """Give it its variables and a port of the host, which Kafka must know before it starts."""
    host, port = container.get_docker_client().host(), free_port()
    host = "127.0.0.1" if host == "localhost" else host
    container.with_envs(**_variables(f"{host}:{port}") | dict(more))
    place = (host, port) if host == "127.0.0.1" else port
    container.ports[str(_CLIENTS)] = place  # type: ignore[assignment]  # docker-py takes an address
    return f"{host}:{port}"


def _variables(address: str) -> dict[str, str]:
    """Return the variables of a node that is broker and controller, reachable at `address`.

    It calls itself as a broker too (transactions are verified so), where `address` leads nowhere.
    """
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{_CLIENTS},{_ITSELF},{_CONTROLLER}",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{address},{_ITSELF}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": (
            "PLAINTEXT:PLAINTEXT,ITSELF:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "KAFKA_INTER_BROKER_LISTENER_NAME": "ITSELF",
        "KAFKA_NUM_PARTITIONS": "4",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_HEAP_OPTS": "-Xmx768m",
    }


def _await_answer(container: "DockerContainer", address: str) -> None:
    """Return when Kafka answers; RuntimeError with what it said when it ends or stays silent."""
    client = AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.ms": 50})
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(client):
        container.reload()
        if container.status == "exited" or time.monotonic() > deadline:
            log = b"".join(container.get_logs()).decode("utf-8", "replace").splitlines()
            said = "\n".join(log[-_LINES:]) or "it said nothing"
            raise RuntimeError(f"Kafka did not start ({container.status}), it said:\n{said}")


def _answers(client: AdminClient) -> bool:
    try:
        return bool(client.list_topics(timeout=0.5).brokers)
    except KafkaException:
        return False


def _first_line(error: BaseException) -> str:
    line, _, _ = str(error).partition("\n")
    return f"{type(error).__name__}: {line}"
