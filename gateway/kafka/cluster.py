"""What the cluster says of itself: brokers, topics, partitions, offsets, configurations."""

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
from gateway.http.responses import Refusal
from gateway.kafka.producer import (
    FORBIDDEN,
    KAFKA_RETRIABLE,
    METADATA_SECONDS,
    UNAUTHENTICATED,
    failure,
)

TOPIC_NOT_FOUND = 40401
PARTITION_NOT_FOUND = 40402
LEADER_NOT_AVAILABLE = 40404
INTERNAL = {"__consumer_offsets", "__share_group_state", "__transaction_state"}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition and the brokers that hold it; `leader` is -1 when none leads."""

    number: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: frozenset[int]


class KafkaCluster:
    """Reads of metadata, in starlette's threads, METADATA_SECONDS at most each.

    Every read raises Refusal: 404 (40401, 40402, 40404), 401 or 403 when Kafka lets the gateway
    not in, 503 when no broker answers, 500 for what remains.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        try:
            self._admin = AdminClient({"log_level": 2, **properties})
        except KafkaException as error:
            raise ConfigError(
                f"the gateway's Kafka client cannot start: {error.args[0].str()}",
                "mend the kafka section of config.yaml",
            ) from error
        self._widths: Mapping[str, int] = {}
        self._look: asyncio.Future[ClusterMetadata] | None = None

    async def brokers(self) -> list[int]:
        """The ids of the brokers, ascending."""
        return sorted((await self._metadata()).brokers)

    async def topics(self) -> list[str]:
        """The names of the topics, ascending, without Kafka's own."""
        return sorted((await self._metadata()).topics.keys() - INTERNAL)

    async def partitions(self, topic: str) -> list[Partition]:
        """The partitions of `topic`, by number."""
        found = (await self._metadata()).topics.get(topic)
        if found is None:
            raise Refusal(404, TOPIC_NOT_FOUND, "Topic not found.")
        if found.error:
            raise refusal(found.error)
        return [_partition(found.partitions[number]) for number in sorted(found.partitions)]

    async def partition(self, topic: str, number: int) -> Partition:
        """One partition of `topic`."""
        for partition in await self.partitions(topic):
            if partition.number == number:
                return partition
        raise Refusal(404, PARTITION_NOT_FOUND, "Partition not found.")

    async def lacks(self, topic: str, number: int) -> bool:
        """Whether `topic` is there without this partition; the cluster is asked until it has it."""
        if number >= self._widths.get(topic, 0):
            topics = (await self._metadata()).topics.items()
            self._widths = {name: len(t.partitions) for name, t in topics if not t.error}
        return topic in self._widths and number >= self._widths[topic]

    async def configs(self, topic: str) -> dict[str, str | None]:
        """The configuration of `topic`, sensitive values None; empty when no broker tells it."""
        metadata = await self._metadata()
        if metadata.controller_id not in metadata.brokers:  # librdkafka's mock cluster
            return {}
        return await _answered(run_in_threadpool(self._configs, topic))

    async def offsets(self, topic: str, number: int) -> tuple[int, int]:
        """The partition's first offset, and the one that its next record gets."""
        if (await self.partition(topic, number)).leader < 0:
            raise Refusal(404, LEADER_NOT_AVAILABLE, "Leader not available.")
        return await _answered(run_in_threadpool(self._offsets, TopicPartition(topic, number)))

    async def _metadata(self) -> ClusterMetadata:
        """One look at a time, shared: a cluster that is silent holds one thread, not all."""
        if self._look is None or self._look.done():
            look = run_in_threadpool(self._admin.list_topics, timeout=METADATA_SECONDS)
            self._look = asyncio.ensure_future(look)
            self._look.add_done_callback(_seen)
        return await _answered(asyncio.shield(self._look))

    def _configs(self, topic: str) -> dict[str, str | None]:
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        asked = self._admin.describe_configs([resource], request_timeout=METADATA_SECONDS)
        found = asked[resource].result()
        return {name: found[name].value for name in sorted(found)}

    def _offsets(self, partition: TopicPartition) -> tuple[int, int]:
        ends = (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        asked = [
            self._admin.list_offsets({partition: end}, request_timeout=METADATA_SECONDS)[partition]
            for end in ends
        ]
        first, following = [answer.result().offset for answer in asked]
        return first, following


def _partition(found: PartitionMetadata) -> Partition:
    return Partition(found.id, found.leader, tuple(found.replicas), frozenset(found.isrs))


def _seen(look: asyncio.Future[ClusterMetadata]) -> None:
    """Take its failure, which asyncio would log when every caller had gone."""
    if not look.cancelled():
        look.exception()


async def _answered(read: Awaitable[T]) -> T:
    """The answer to `read`; raises Refusal when Kafka has none."""
    try:
        return await read
    except KafkaException as error:
        raise refusal(error.args[0]) from None


def refusal(error: KafkaError) -> Refusal:
    """`error` as KafkaExceptionMapper of rest-utils 8.5 says it, but 503 for its 500 50003.

    librdkafka's own errors (below 0) mean that no broker answered.
    """
    code, words = failure(error)
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return Refusal(404, TOPIC_NOT_FOUND, "Topic not found.")
    if code in (UNAUTHENTICATED, FORBIDDEN):
        return Refusal(code // 100, code, words)
    if error.code() < 0 or code == KAFKA_RETRIABLE:
        message = f"Kafka cannot be reached: {words}"
        return Refusal(503, KAFKA_RETRIABLE, message, {"Retry-After": "1"})
    return Refusal(500, code, words)
