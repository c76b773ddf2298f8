"""The Kafka clients: their settings, and their errors in pinpip's words."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.properties import INVALID, invalid
from core import kafka_errors
from core.batch import Partition
from core.errors import ConfigError, SourceError, TransientError
from core.kafka import LOGGER
from core.repeats import Repeats
from core.retry import Outage
from core.topics import INTERNAL

REQUEST_TIMEOUT_S = 10.0
_PROBE_TIMEOUT_S = 0.1
QUEUE_LIMIT = 16 * 1024 * 1024
_MIN_QUEUE = 256 * 1024
_QUEUE = "queued.max.messages.kbytes"
FIXED = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
}
REFUSED = {kafka_errors.FATAL, *kafka_errors.AUTHENTICATION, *kafka_errors.AUTHORIZATION}
_MEMBERSHIP = {"group.protocol", "group.instance.id", "group.remote.assignor"}
_RIGHTS = "see the user, its password and its rights (ACLs: READ on the topics and the group)"
_AUTHORITY = "see kafka.ssl.ca.location: it must hold the authority of the brokers' certificates"
_INSTANCE = (
    "another process has this kafka.group.instance.id, or had it until it was killed less than a"
    " session timeout ago: give each process its own, or start again later"
)
_PROTOCOL = (
    "group.protocol: consumer needs Apache Kafka 4.0, or one that enables it in"
    " group.coordinator.rebalance.protocols: take it out of config.yaml, or upgrade"
)
_log = structlog.get_logger()


def settings(properties: Mapping[str, Any], group: str, budget: int) -> dict[str, Any]:
    """Return librdkafka's configuration; the client's queue holds a 16th of `budget` bytes.

    It exceeds them by one response of each broker: a quarter of the queue, but compressed.
    `properties` win, except over what exactly-once rests on: ConfigError names such a key.
    """
    for error in refused(properties):
        raise error
    queue = max(min(budget // 16, QUEUE_LIMIT), _MIN_QUEUE)
    defaults: dict[str, Any] = {
        "fetch.queue.backoff.ms": 10,
        _QUEUE: queue // 1024,
        "fetch.max.bytes": queue // 4,  # a larger record comes whole all the same
        "message.max.bytes": min(queue // 4, 1_000_000),  # else the client raises the line above
        "topic.metadata.refresh.interval.ms": 2000,
        "topic.blacklist": INTERNAL,  # of those that match a pattern
        "log_level": 4,
    }
    if properties.get("group.protocol") != "consumer":  # KIP-848 assigns on the server
        defaults["partition.assignment.strategy"] = "cooperative-sticky"
        defaults["session.timeout.ms"] = 10_000  # a killed member's partitions wait so long
    return defaults | dict(properties) | FIXED | {"group.id": group}


def poll_bytes(configuration: Mapping[str, Any]) -> int:
    """Return the bytes that one poll may take from the client's queue: half of it."""
    return int(configuration[_QUEUE]) * 1024 // 2


def refused(properties: Mapping[str, Any]) -> Iterator[ConfigError]:
    """Yield an error for each property that would undo what exactly-once rests on."""
    for name, value in FIXED.items():
        if str(properties.get(name, value)).lower() != str(value).lower():
            yield ConfigError(
                f"kafka.{name} must be {str(value).lower()}: exactly-once rests on it",
                f"take {name} out of config.yaml",
            )


def settings_beside(properties: Mapping[str, Any], group: str, budget: int) -> dict[str, Any]:
    """As `settings`, for a client that reads beside `group`: it never joins and never commits.

    librdkafka looks for the coordinator of any `group.id`. The live group's name makes that a
    permitted request wherever the pipeline itself may run.
    """
    kept = {name: value for name, value in properties.items() if name not in _MEMBERSHIP}
    return settings(kept, group, budget)


def client(configuration: Mapping[str, Any], errors: list[KafkaError] | None = None) -> Consumer:
    """Return a consumer that has reached its broker; connection errors are added to `errors`.

    Raises ConfigError for a property librdkafka does not take, SourceError for a broker that does
    not answer or does not let us in.
    """
    heard: list[KafkaError] = [] if errors is None else errors
    try:
        # A consumer hears of a fatal error by a message: no line of its log can hide it.
        consumer = Consumer({**configuration, "error_cb": heard.append, "logger": LOGGER})
    except INVALID as error:
        raise invalid(error) from error
    try:
        kafka_errors.reach(consumer, heard, REFUSED, REQUEST_TIMEOUT_S)
    except KafkaException as error:
        consumer.close()
        raise _unreached(error.args[0], str(configuration["bootstrap.servers"])) from None
    return consumer


def admin_client(configuration: Mapping[str, Any]) -> AdminClient:
    """Return a client for requests beside a consumer of the same `configuration`.

    Drop it before the interpreter ends: one that is left to its end may hang there. Its log is the
    consumer's over again.
    """
    own: dict[str, Any] = {**configuration, "error_cb": lambda _: None, "log_level": 2}
    return AdminClient(own)


def _unreached(error: KafkaError, servers: str) -> SourceError:
    """Return why no broker of `servers` serves the client."""
    if error.code() in REFUSED:
        return failure(error)
    return SourceError(
        f"no broker of {servers} can be reached: {error.str()}",
        "see that the broker runs and that kafka.bootstrap.servers and security.protocol are right",
    )


def report(error: KafkaError, outage: Outage, repeats: Repeats) -> None:
    """Raise SourceError when no waiting helps; note an outage that librdkafka recovers from."""
    if error.fatal() or error.code() in REFUSED:
        raise failure(error)
    if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
        hint = "see that the brokers run and the network to them"
        outage.failed("", error.str(), hint, error.name())
    elif error.code() != KafkaError._TRANSPORT:  # noqa: SLF001  # one broker of many
        before = repeats.due(error.code())
        if before is not None:
            _log.warning("kafka_error", error=error.str(), repeats=before or None)


def await_brokers(consumer: Consumer, outage: Outage) -> None:
    """Tell of an outage that lasts; it is over when a broker answers a question again."""
    outage.look()
    with suppress(KafkaException):
        consumer.list_topics(timeout=_PROBE_TIMEOUT_S)
        outage.over()


def metadata_of(client: AdminClient | Consumer, timeout: float, topic: str | None = None) -> Any:
    """Return the brokers' ClusterMetadata, of one topic or of all; TransientError without any."""
    try:
        return client.list_topics(topic, timeout=timeout)
    except KafkaException as error:
        raise TransientError(
            f"no broker tells its topics: {error.args[0].str()}",
            "see that the brokers run and the network to them",
        ) from error


def failure(error: KafkaError, what: str = "") -> SourceError:
    """Return an error that waiting does not repair."""
    hint = _AUTHORITY if error.code() == KafkaError._SSL else _RIGHTS  # noqa: SLF001
    if "instance" in error.str():  # a fatal error has no code of its own
        hint = _INSTANCE
    if "unsupported version" in error.str().lower():
        hint = _PROTOCOL
    return SourceError(f"Kafka refuses{' ' + what if what else ''}: {error.str()}", hint)


def partition_of(found: TopicPartition) -> Partition:
    """Return the partition as pinpip names it."""
    return Partition(found.topic, str(found.partition))


def topic_partition(partition: Partition, offset: int | None = None) -> TopicPartition:
    """Return the partition as librdkafka names it, at `offset` when given."""
    own = (partition.source, int(partition.id))
    return TopicPartition(*own) if offset is None else TopicPartition(*own, offset)
