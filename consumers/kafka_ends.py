"""How far a Kafka topic is beyond given positions, for verify and lag."""

from collections.abc import Collection, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from consumers.kafka_client import (
    REACH,
    client,
    offset_at,
    partition_of,
    partitions_of,
    settings,
    topic_partition,
    watermarks,
)
from pinpip.batch import Partition, Position, Positions


def unread_since(
    properties: Mapping[str, Any],
    topics: Collection[str],
    positions: Positions,
    older_than: datetime,
) -> dict[Partition, int]:
    """Partitions with records beyond their position that are older than `older_than` (aware).

    The number is of offsets, an upper bound of the records: offsets have gaps. A broker that
    cannot search by time (the mock cluster) has everything counted as old.
    """
    unread = {}
    with closing(client(settings(properties, "pinpip-ends", 0))) as consumer:
        for partition in partitions_of(consumer, topics):
            low, high = watermarks(consumer, partition)
            old = offset_at(consumer, partition, older_than, high)
            read = positions.get(partition) or Position(low)
            unread[partition] = (high if old is None else old) - max(read.number, low)
    return {partition: count for partition, count in unread.items() if count > 0}


def committed(
    properties: Mapping[str, Any], group: str, topics: Collection[str]
) -> dict[Partition, Position]:
    """What `group` last acknowledged: for lag, never the truth."""
    with closing(client(settings(properties, group, 0))) as consumer:
        wanted = [topic_partition(p) for p in partitions_of(consumer, topics)]
        found = consumer.committed(wanted, timeout=REACH) if wanted else []
    return {partition_of(tp): Position(tp.offset) for tp in found if tp.offset >= 0}
