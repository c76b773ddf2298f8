"""What operators and retention do to topics, and what a group committed to the broker."""

from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumers.kafka.client import (
    REQUEST_TIMEOUT_S,
    client,
    partition_of,
    settings,
    topic_partition,
)
from consumers.kafka.watermarks import partitions_of
from core.batch import Partition, Position
from tests.support.brokers import Broker
from tests.support.processes import until


def recreate(broker: Broker, topic: str, values: list[bytes]) -> None:
    """Delete the topic, create it again at once and fill it."""
    admin = AdminClient(broker.properties)
    delete(admin, topic)
    create(admin, topic)
    fresh = replace(broker, _producers={})
    fresh.produce(topic, values)


def delete(admin: AdminClient, topic: str) -> None:
    """Return when the broker says that it is gone."""
    admin.delete_topics([topic])[topic].result(30)


def create(admin: AdminClient, topic: str) -> None:
    """Return when it is there; its namesake may still be on its way out."""

    def made() -> bool:
        try:
            admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
        except KafkaException:
            return False
        return True

    until(made, "the topic")


def trim(broker: Broker, topic: str, before: int, partition: int = 0) -> None:
    """Delete the records of a partition before an offset, as retention does."""
    admin = AdminClient(broker.properties)
    for result in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        result.result(10)


def committed(
    properties: Mapping[str, Any], group: str, topics: Collection[str]
) -> dict[Partition, Position]:
    """Return the offsets that `group` last committed to the broker."""
    with closing(client(settings(properties, group, 0))) as consumer:
        wanted = [topic_partition(p) for p in partitions_of(consumer, topics)]
        found = consumer.committed(wanted, timeout=REQUEST_TIMEOUT_S) if wanted else []
    return {partition_of(tp): Position(tp.offset) for tp in found if tp.offset >= 0}
