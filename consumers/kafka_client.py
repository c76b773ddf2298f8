"""The Kafka client's settings, its errors in pinpip's words, and where topics begin and end."""

from collections.abc import Collection, Mapping
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pinpip.batch import Partition, Position
from pinpip.errors import ConfigError, RecordsExpired, SourceError

REACH = 10.0
TRIES = 10
QUEUE_LIMIT = 64 * 1024 * 1024
_OURS = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
}
_REFUSED = {
    KafkaError._FATAL,  # noqa: SLF001  # librdkafka's own codes are spelt so
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.ILLEGAL_SASL_STATE,
}
_RIGHTS = "see the user, its password and its rights (ACLs: READ on the topics and the group)"
_AUTHORITY = "see kafka.ssl.ca.location: it must hold the authority of the brokers' certificates"
_INSTANCE = (
    "another process has this kafka.group.instance.id, or had it until it was killed less than a"
    " session timeout ago: give each process its own, or start again later"
)
_log = structlog.get_logger()


def settings(properties: Mapping[str, Any], group: str, budget: int) -> dict[str, Any]:
    """The configuration of librdkafka for a client whose queue holds a quarter of `budget` bytes.

    `properties` win, except over what exactly-once rests on: ConfigError names such a key.
    """
    for name, value in _OURS.items():
        if str(properties.get(name, value)).lower() != str(value).lower():
            raise ConfigError(
                f"kafka.{name} must be {str(value).lower()}: exactly-once rests on it",
                f"take {name} out of config.yaml",
            )
    queue = max(min(budget // 4, QUEUE_LIMIT), 1024 * 1024)
    defaults: dict[str, Any] = {
        "fetch.queue.backoff.ms": 10,
        "queued.max.messages.kbytes": queue // 1024,
        "fetch.max.bytes": queue,
        "topic.metadata.refresh.interval.ms": 2000,
        "log_level": 2,
    }
    if properties.get("group.protocol") != "consumer":  # KIP-848 assigns on the server
        defaults["partition.assignment.strategy"] = "cooperative-sticky"
        defaults["session.timeout.ms"] = 10_000  # a killed member's partitions wait so long
    return defaults | dict(properties) | _OURS | {"group.id": group}


def client(configuration: Mapping[str, Any], errors: list[KafkaError] | None = None) -> Consumer:
    """A consumer that has reached its broker; `errors` gathers what it says of the connection.

    Raises ConfigError for a property librdkafka does not take, SourceError for a broker that does
    not answer or does not let us in.
    """
    heard: list[KafkaError] = [] if errors is None else errors
    try:
        consumer = Consumer({**configuration, "error_cb": heard.append})
    except KafkaException as error:
        raise ConfigError(
            f"kafka: {error.args[0].str()}",
            "the properties are those of librdkafka's CONFIGURATION.md",
        ) from error
    try:
        _reach(consumer, str(configuration["bootstrap.servers"]), heard)
    except SourceError:
        consumer.close()
        raise
    return consumer


def _reach(consumer: Consumer, servers: str, heard: list[KafkaError]) -> None:
    """Raise SourceError as soon as a broker refuses us, or when none answers within REACH."""
    said = ""
    for _ in range(TRIES):
        try:
            consumer.list_topics(timeout=REACH / TRIES)
        except KafkaException as error:
            said = error.args[0].str()
        else:
            return
        consumer.poll(0)  # lets the client say why
        for refused in [own for own in heard if own.code() in _REFUSED]:
            raise failure(refused)
    raise SourceError(
        f"no broker of {servers} can be reached: {said}",
        "see that the broker runs and that kafka.bootstrap.servers and security.protocol are right",
    )


def report(error: KafkaError) -> None:
    """Raise SourceError when no waiting helps; note an outage that librdkafka mends itself."""
    if error.fatal() or error.code() in _REFUSED:
        raise failure(error)
    if error.code() != KafkaError._TRANSPORT:  # noqa: SLF001  # one broker of many
        _log.warning("kafka_waits", error=error.str())


def failure(error: KafkaError, what: str = "") -> SourceError:
    """An error that no waiting mends."""
    hint = _AUTHORITY if error.code() == KafkaError._SSL else _RIGHTS  # noqa: SLF001
    if "instance" in error.str():  # a fatal error has no code of its own
        hint = _INSTANCE
    return SourceError(f"Kafka refuses{' ' + what if what else ''}: {error.str()}", hint)


def outside(partition: Partition, position: int, low: int, high: int) -> Exception | None:
    """Why nothing can be read at `position` of a partition that holds [low, high); None if it can.

    A gap is never passed over in silence.
    """
    if position < low:
        return RecordsExpired(
            f"{partition} now starts at offset {low}, but offset {position} is still wanted:"
            f" {low - position} offsets are gone from the topic",
            "lengthen the topic's retention; to read on without them, set a new `incarnation`"
            " and a new table, or fetch them from the archive",
        )
    if position > high:
        return SourceError(
            f"{partition} ends at offset {high}, but the table is at {position}:"
            " the topic was re-created or truncated",
            "read the new topic into a table of its own, with a new `incarnation`",
        )
    return None


def watermarks(consumer: Consumer, partition: Partition) -> tuple[int, int]:
    """First offset and end (next offset to be written) of a partition; SourceError if unknown."""
    try:
        ends = consumer.get_watermark_offsets(topic_partition(partition), timeout=REACH)
    except KafkaException as error:
        raise SourceError(
            f"the ends of {partition} cannot be read: {error.args[0].str()}",
            "see that the broker runs and the topic exists",
        ) from error
    if ends is None:
        raise SourceError(f"the ends of {partition} did not come in {REACH:.0f} s", "try again")
    low, high = ends
    return low, high


def partitions_of(consumer: Consumer, topics: Collection[str]) -> list[Partition]:
    """The partitions of those of `topics` that exist; SourceError for one that we may not see."""
    known = consumer.list_topics(timeout=REACH).topics
    for topic in set(topics) - set(known):
        error = consumer.list_topics(topic, timeout=REACH).topics[topic].error
        if error is not None and error.code() in _REFUSED:
            raise failure(error, topic)
    return [Partition(t, str(n)) for t in topics if t in known for n in known[t].partitions]


def end_positions(
    properties: Mapping[str, Any], topics: Collection[str]
) -> dict[Partition, tuple[Position, Position]]:
    """Where each partition of `topics` starts and ends now; topics that do not exist have none."""
    consumer = client(settings(properties, "pinpip-ends", 0))
    try:
        return {
            partition: (Position(low), Position(high))
            for partition in partitions_of(consumer, topics)
            for low, high in [watermarks(consumer, partition)]
        }
    finally:
        consumer.close()


def high_watermarks(
    properties: Mapping[str, Any], topics: Collection[str]
) -> dict[Partition, Position]:
    """Where each partition of `topics` ends, with what lies behind open transactions."""
    everything = {"isolation.level": "read_uncommitted"}
    consumer = client(settings(properties, "pinpip-ends", 0) | everything)
    try:
        return {
            partition: Position(watermarks(consumer, partition)[1])
            for partition in partitions_of(consumer, topics)
        }
    finally:
        consumer.close()


def committed(
    properties: Mapping[str, Any], group: str, topics: Collection[str]
) -> dict[Partition, Position]:
    """What `group` last acknowledged: for lag, never the truth."""
    consumer = client(settings(properties, group, 0))
    try:
        wanted = [topic_partition(p) for p in partitions_of(consumer, topics)]
        found = consumer.committed(wanted, timeout=REACH) if wanted else []
    finally:
        consumer.close()
    return {partition_of(tp): Position(tp.offset) for tp in found if tp.offset >= 0}


def partition_of(found: TopicPartition) -> Partition:
    """The partition as pinpip names it."""
    return Partition(found.topic, str(found.partition))


def topic_partition(partition: Partition, offset: int | None = None) -> TopicPartition:
    """The partition as librdkafka names it, at `offset` when given."""
    own = (partition.source, int(partition.id))
    return TopicPartition(*own) if offset is None else TopicPartition(*own, offset)
