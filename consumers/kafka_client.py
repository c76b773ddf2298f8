"""The Kafka client's settings, its errors in pinpip's words, and where topics begin and end."""

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumers.kafka_ids import TopicIds
from pinpip.batch import Partition, Position, Records
from pinpip.errors import (
    ConfigError,
    RecordsExpired,
    SourceError,
    TopicRecreated,
    TransientError,
)

REACH = 10.0
QUEUE_LIMIT = 16 * 1024 * 1024
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
_MEMBERSHIP = {"group.protocol", "group.instance.id", "group.remote.assignor"}
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


def settings_beside(properties: Mapping[str, Any], group: str, budget: int) -> dict[str, Any]:
    """As `settings`, for a client that reads beside `group`: it never joins and never commits.

    librdkafka looks for the coordinator of any `group.id`. The live group's name makes that a
    permitted request wherever the pipeline itself may run.
    """
    kept = {name: value for name, value in properties.items() if name not in _MEMBERSHIP}
    return settings(kept, group, budget)


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
    for _ in range(int(REACH)):
        try:
            consumer.list_topics(timeout=1.0)
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
        return TopicRecreated(
            f"{partition} ends at offset {high}, but the table is at {position}:"
            " the topic was re-created or truncated",
            "to read it afresh into the same table set a new `incarnation` in config.yaml and start"
            " once with: pinpip consume PIPELINE --new-incarnation",
        )
    return None


def watermarks(consumer: Consumer, partition: Partition) -> tuple[int, int]:
    """First offset and end (next offset to be written) of a partition.

    Raises TransientError while no broker can say, SourceError when it refuses to.
    """
    try:
        ends = consumer.get_watermark_offsets(topic_partition(partition), timeout=REACH)
    except KafkaException as error:
        cause = error.args[0]
        if cause.fatal() or cause.code() in _REFUSED:
            raise failure(cause) from error
        raise TransientError(
            f"the ends of {partition} cannot be read: {cause.str()}",
            "see that the broker runs and the topic exists",
        ) from error
    if ends is None:
        raise TransientError(f"the ends of {partition} did not come in {REACH:.0f} s", "try again")
    low, high = ends
    return low, high


def begin_each(
    sought: dict[Partition, Position | None], begin: Callable[[Partition, Position | None], None]
) -> None:
    """Call `begin` for each partition of `sought` and take it out, unless no broker answers now.

    librdkafka waits for a broker without a limit, and so does what is left in `sought`.
    """
    while sought:
        partition, position = next(iter(sought.items()))
        try:
            begin(partition, position)
        except TransientError as error:
            _log.warning("kafka_waits", error=error.message)
            return
        del sought[partition]


def remaining(records: Records, sought: Collection[Partition]) -> Records | None:
    """What is left of `records` without partitions that are to be read from elsewhere."""
    left = records.without(sought) if sought else records
    return left if left.spans else None


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
    """Where each partition of `topics` starts and ends now, with the epoch it is in.

    Topics that do not exist have none. The end is the last stable offset: what lies behind an open
    transaction cannot be read yet.
    """
    own = settings(properties, "pinpip-ends", 0)
    with closing(client(own)) as consumer:
        ids = TopicIds(own, consumer)
        epochs = ids.answers(ids.ask(topics))
        marks = _marks(consumer, topics).items()
    return {
        p: (Position(low, epoch=epochs.get(p.source)), Position(high, epoch=epochs.get(p.source)))
        for p, (low, high) in marks
    }


def high_watermarks(
    properties: Mapping[str, Any], topics: Collection[str]
) -> dict[Partition, Position]:
    """Where each partition of `topics` ends, with what lies behind open transactions."""
    everything = settings(properties, "pinpip-ends", 0) | {"isolation.level": "read_uncommitted"}
    with closing(client(everything)) as consumer:
        return {p: Position(high) for p, (_, high) in _marks(consumer, topics).items()}


def _marks(consumer: Consumer, topics: Collection[str]) -> dict[Partition, tuple[int, int]]:
    return {p: watermarks(consumer, p) for p in partitions_of(consumer, topics)}


def committed(
    properties: Mapping[str, Any], group: str, topics: Collection[str]
) -> dict[Partition, Position]:
    """What `group` last acknowledged: for lag, never the truth."""
    with closing(client(settings(properties, group, 0))) as consumer:
        wanted = [topic_partition(p) for p in partitions_of(consumer, topics)]
        found = consumer.committed(wanted, timeout=REACH) if wanted else []
    return {partition_of(tp): Position(tp.offset) for tp in found if tp.offset >= 0}


def partition_of(found: TopicPartition) -> Partition:
    """The partition as pinpip names it."""
    return Partition(found.topic, str(found.partition))


def topic_partition(partition: Partition, offset: int | None = None) -> TopicPartition:
    """The partition as librdkafka names it, at `offset` when given."""
    own = (partition.source, int(partition.id))
    return TopicPartition(*own) if offset is None else TopicPartition(*own, offset)
