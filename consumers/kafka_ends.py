"""What a topic holds beyond the tables' positions."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigEntry, ConfigResource

from consumers.kafka_client import (
    REACH,
    partitions_of,
    settings_beside,
    topic_partition,
    watermarks,
)
from consumers.kafka_reader import Reader
from pinpip.batch import Partition, Positions
from pinpip.errors import SourceError

PATIENCE = 1.0
_TIME = "_timestamp"
_log = structlog.get_logger()


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
        behind: dict[Partition, int] = {}
        for partition in partitions_of(reader.consumer, topics):
            start = reader.place(partition, positions.get(partition))
            behind[partition] = watermarks(reader.consumer, partition)[1] - start.offset
            if behind[partition]:
                reader.consumer.incremental_assign([start])
        oldest = _first_times(reader, {p for p, n in behind.items() if n})
    finally:
        reader.close()
    return {p: behind[p] for p, at in oldest.items() if at < older_than}


def _first_times(reader: Reader, waiting: set[Partition]) -> dict[Partition, datetime]:
    """The timestamp of the first record in each partition; those that hold none are left out."""
    found: dict[Partition, datetime] = {}
    silent = 0.0
    while waiting and silent < REACH:
        records = reader.read(PATIENCE)
        if records is None:
            silent += PATIENCE
            continue
        for partition in records.spans:
            _leave(reader, partition)
            waiting.discard(partition)
            if not records.frame.is_empty():
                found[partition] = records.frame.item(0, _TIME)
    if waiting:
        named = ", ".join(map(str, sorted(waiting)))
        raise SourceError(f"{named} did not answer in {REACH:.0f} s", "see that the broker is well")
    return found


def _leave(reader: Reader, partition: Partition) -> None:
    """Read no more of it: a long backlog would come before the next partition's first record."""
    reader.consumer.incremental_unassign([topic_partition(partition)])
    reader.drop([partition])


def forgetful_topics(properties: Mapping[str, Any], topics: Sequence[str]) -> set[str]:
    """Those of `topics` that are compacted: their records may vanish one by one.

    A topic of which the broker does not tell it (no right to DESCRIBE_CONFIGS) is not among them.
    """
    admin = AdminClient({"log_level": 2, **properties})
    wanted = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    return {
        resource.name
        for resource, answer in admin.describe_configs(wanted, request_timeout=REACH).items()
        if "compact" in _policy(resource.name, answer)
    }


def _policy(topic: str, answer: Future[dict[str, ConfigEntry]]) -> str:
    try:
        return str(answer.result()["cleanup.policy"].value)
    except KafkaException as error:
        _log.debug("kafka_policy_unknown", topic=topic, error=error.args[0].str())
        return ""
