"""What topics hold: their partitions, their ends, and the records beyond a table's positions."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from datetime import datetime
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigEntry, ConfigResource

from consumers.kafka.client import (
    REFUSED,
    REQUEST_TIMEOUT_S,
    admin_client,
    client,
    failure,
    metadata_of,
    partition_of,
    settings,
    settings_beside,
)
from consumers.kafka.offsets import ends_now
from consumers.kafka.reader import Reader
from consumers.kafka.topic_identity import TopicIds
from consumers.window import TIME
from core.batch import Partition, Position, Positions
from core.clock import SystemClock
from core.errors import SourceError
from core.topics import named

_NOBODY = "pinpip-ends"  # a group that is never joined
_POLL_S = 1.0
_log = structlog.get_logger()


def partitions_of(consumer: Consumer, topics: Collection[str]) -> list[Partition]:
    """List the partitions of the `topics` that exist.

    A name that starts with `^` is a pattern, for all topics that match it by now. Raises
    SourceError where access is denied, TransientError when no broker answers.
    """
    known = metadata_of(consumer, REQUEST_TIMEOUT_S).topics
    names = named(topics, known)
    for topic in set(topics) - known.keys():
        error = (
            metadata_of(consumer, REQUEST_TIMEOUT_S, topic).topics[topic].error
            if topic in names
            else None
        )
        if error is not None and error.code() in REFUSED:
            raise failure(error, topic)
    return [Partition(t, str(n)) for t in names if t in known for n in known[t].partitions]


def stable_watermarks(
    properties: Mapping[str, Any], topics: Collection[str]
) -> dict[Partition, tuple[Position, Position]]:
    """Where each partition of `topics` starts and ends now, with the epoch it is in.

    Topics that do not exist have none. The end is the last stable offset: what lies behind an open
    transaction cannot be read yet.
    """
    own = settings(properties, _NOBODY, 0)
    with closing(client(own)) as consumer:
        partitions = partitions_of(consumer, topics)
        admin = admin_client(own)
        ids = TopicIds(admin, consumer)
        asked = ids.ask({partition.source for partition in partitions}, REQUEST_TIMEOUT_S)
        epochs = ids.answers(asked, REQUEST_TIMEOUT_S)
        ends = ends_now(admin, partitions, SystemClock())
    return {
        p: (Position(low, epoch=epochs.get(p.source)), Position(high, epoch=epochs.get(p.source)))
        for p, (low, high) in ends.items()
    }


def high_watermarks(
    properties: Mapping[str, Any], topics: Collection[str]
) -> dict[Partition, Position]:
    """Where each partition of `topics` ends, with what lies behind open transactions."""
    own = settings(properties, _NOBODY, 0)
    with closing(client(own)) as consumer:
        partitions = partitions_of(consumer, topics)
    found = ends_now(admin_client(own), partitions, SystemClock(), everything=True)
    return {partition: Position(high) for partition, (_, high) in found.items()}


def unread_since(
    properties: Mapping[str, Any],
    topics: Sequence[str],
    group: str,
    positions: Positions,
    older_than: datetime,
) -> dict[Partition, int]:
    """Partitions whose first unread record is older than `older_than` (UTC), with their lag.

    The lag is an upper bound of the records, as offsets have gaps. A partition that `positions`
    does not name counts from its first offset. The reader does not join `group`. Raises
    RecordsExpired when a topic no longer reaches back to a position, TopicRecreated when it
    ends before one.
    """
    reader = Reader(settings_beside(properties, group, 0), headers=False, chunk=1)
    try:
        partitions = partitions_of(reader.consumer, topics)
        starts = {
            partition_of(start): start
            for start in reader.place({p: positions.get(p) for p in partitions})
        }
        ends = ends_now(reader.admin, partitions, SystemClock())
        behind = {p: ends[p][1] - start.offset for p, start in starts.items()}
        waiting = {p for p, lag in behind.items() if lag}
        reader.consumer.incremental_assign([starts[p] for p in waiting])
        oldest = _first_times(reader, waiting)
    finally:
        reader.close()
    return {p: behind[p] for p, at in oldest.items() if at < older_than}


def _first_times(reader: Reader, waiting: set[Partition]) -> dict[Partition, datetime]:
    """Read the timestamp of the first record in each partition that has one."""
    found: dict[Partition, datetime] = {}
    silent = 0.0
    while waiting and silent < REQUEST_TIMEOUT_S:
        records = reader.read(_POLL_S)
        if records is None:
            silent += _POLL_S
            continue
        for partition in records.spans:
            reader.leave(partition)  # its backlog would come before other partitions' first records
            waiting.discard(partition)
            if not records.frame.is_empty():
                found[partition] = records.frame.item(0, TIME)
    if waiting:
        names = ", ".join(map(str, sorted(waiting)))
        raise SourceError(
            f"{names} did not answer in {REQUEST_TIMEOUT_S:.0f} s",
            "see that the broker is well",
        )
    return found


def forgetful_topics(properties: Mapping[str, Any], topics: Sequence[str]) -> set[str]:
    """Those of `topics` that are compacted: their records may vanish one by one.

    A topic of which the broker does not tell it (no right to DESCRIBE_CONFIGS) is not among them.
    """
    admin = AdminClient({"log_level": 2, **properties})
    names = named(topics, metadata_of(admin, REQUEST_TIMEOUT_S).topics)
    wanted = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in names]
    return {
        resource.name
        for resource, answer in admin.describe_configs(
            wanted, request_timeout=REQUEST_TIMEOUT_S
        ).items()
        if "compact" in _policy(resource.name, answer)
    }


def _policy(topic: str, answer: Future[dict[str, ConfigEntry]]) -> str:
    try:
        return str(answer.result()["cleanup.policy"].value)
    except KafkaException as error:
        _log.debug("kafka_policy_unknown", topic=topic, error=error.args[0].str())
        return ""
