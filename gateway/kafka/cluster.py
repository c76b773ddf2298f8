"""Reads of the Kafka cluster: brokers, topics, partitions, offsets, configurations."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._metadata import ClusterMetadata, PartitionMetadata
from starlette.concurrency import run_in_threadpool

from core.errors import ConfigError
from gateway.http.responses import RETRY_LATER, Refusal
from gateway.kafka.producer import (
    FORBIDDEN,
    KAFKA_RETRIABLE,
    METADATA_TIMEOUT_S,
    UNAUTHENTICATED,
    failure,
)

TOPIC_NOT_FOUND = 40401
PARTITION_NOT_FOUND = 40402
LEADER_NOT_AVAILABLE = 40404
INTERNAL = {"__consumer_offsets", "__share_group_state", "__transaction_state"}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PartitionReplicas:
    """The brokers that have one partition; `leader` is -1 when there is none."""

    number: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: frozenset[int]


class KafkaCluster:
    """An admin client; each read takes a thread of starlette and METADATA_TIMEOUT_S at most.

    Every read raises Refusal: 404 (40401, 40402, 40404), 401 or 403 when Kafka denies access, 503
    when no broker responds, 500 for other errors.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        try:
            self._admin = AdminClient({"log_level": 2, **properties})
        except KafkaException as error:
            raise ConfigError(
                f"the gateway's Kafka client cannot start: {error.args[0].str()}",
                "fix the section kafka of config.yaml",
            ) from error
        self._partition_counts: Mapping[str, int] = {}
        self._pending: asyncio.Future[ClusterMetadata] | None = None

    async def brokers(self) -> list[int]:
        """Return the ids of the brokers, ascending."""
        return sorted((await self._metadata()).brokers)

    async def topics(self) -> list[str]:
        """Return the names of the topics, ascending, without Kafka's internal ones."""
        return sorted((await self._metadata()).topics.keys() - INTERNAL)

    async def partitions(self, topic: str) -> list[PartitionReplicas]:
        """Return the partitions of `topic`, ordered by number."""
        found = (await self._metadata()).topics.get(topic)
        if found is None:
            raise Refusal(404, TOPIC_NOT_FOUND, "Topic not found.")
        if found.error:
            raise refusal(found.error)
        return [_partition(found.partitions[number]) for number in sorted(found.partitions)]

    async def partition(self, topic: str, number: int) -> PartitionReplicas:
        """Return one partition of `topic`."""
        for partition in await self.partitions(topic):
            if partition.number == number:
                return partition
        raise Refusal(404, PARTITION_NOT_FOUND, "Partition not found.")

    async def lacks(self, topic: str, number: int) -> bool:
        """Whether `topic` exists without this partition; only existing partitions are cached."""
        if number >= self._partition_counts.get(topic, 0):
            topics = (await self._metadata()).topics.items()
            self._partition_counts = {name: len(t.partitions) for name, t in topics if not t.error}
        return topic in self._partition_counts and number >= self._partition_counts[topic]

    async def configs(self, topic: str) -> dict[str, str | None]:
        """Return the configuration of `topic`; sensitive values are None.

        It is empty when the cluster has no controller.
        """
        metadata = await self._metadata()
        if metadata.controller_id not in metadata.brokers:  # librdkafka's mock cluster
            return {}
        return await _read(run_in_threadpool(self._configs, topic))

    async def offsets(self, topic: str, number: int) -> tuple[int, int]:
        """Return the partition's first offset, and the offset of its next record."""
        if (await self.partition(topic, number)).leader < 0:
            raise Refusal(404, LEADER_NOT_AVAILABLE, "Leader not available.")
        return await _read(run_in_threadpool(self._offsets, TopicPartition(topic, number)))

    async def _metadata(self) -> ClusterMetadata:
        """Return the metadata; concurrent callers share one read, which blocks one thread."""
        if self._pending is None or self._pending.done():
            read = run_in_threadpool(self._admin.list_topics, timeout=METADATA_TIMEOUT_S)
            self._pending = asyncio.ensure_future(read)
            self._pending.add_done_callback(_retrieve_exception)
        return await _read(asyncio.shield(self._pending))

    def _configs(self, topic: str) -> dict[str, str | None]:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        asked = self._admin.describe_configs([resource], request_timeout=METADATA_TIMEOUT_S)
        found = asked[resource].result()
        return {name: found[name].value for name in sorted(found)}

    def _offsets(self, partition: TopicPartition) -> tuple[int, int]:
        specs = (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        futures = [
            self._admin.list_offsets({partition: spec}, request_timeout=METADATA_TIMEOUT_S)
            for spec in specs
        ]
        first, end = [future[partition].result().offset for future in futures]
        return first, end


def _partition(found: PartitionMetadata) -> PartitionReplicas:
    return PartitionReplicas(found.id, found.leader, tuple(found.replicas), frozenset(found.isrs))


def _retrieve_exception(read: asyncio.Future[ClusterMetadata]) -> None:
    """Mark the exception as retrieved; asyncio logs it when no caller awaits the future."""
    if not read.cancelled():
        read.exception()


async def _read(result: Awaitable[T]) -> T:
    """Await `result`; raises Refusal when Kafka returns an error."""
    try:
        return await result
    except KafkaException as error:
        raise refusal(error.args[0]) from None


def refusal(error: KafkaError) -> Refusal:
    """Return the response of rest-utils 8.5 (KafkaExceptionMapper), but 503 for its 500 50003.

    librdkafka's own errors (below 0) mean that no broker responded.
    """
    code, said = failure(error)
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return Refusal(404, TOPIC_NOT_FOUND, "Topic not found.")
    if code in (UNAUTHENTICATED, FORBIDDEN):
        return Refusal(code // 100, code, said)
    if error.code() < 0 or code == KAFKA_RETRIABLE:
        message = f"Kafka cannot be reached: {said}"
        return Refusal(503, KAFKA_RETRIABLE, message, RETRY_LATER)
    return Refusal(500, code, said)
