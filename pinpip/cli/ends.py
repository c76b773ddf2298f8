"""What the sources hold beyond the tables: asked by verify and status."""

from collections.abc import Mapping
from datetime import datetime

from consumers.kafka_client import end_positions
from consumers.kafka_ends import unread_since
from consumers.kinesis import CLIENT_CONFIG
from consumers.kinesis_ends import newest_unread
from pinpip import aws
from pinpip.batch import Partition, Position
from pinpip.clock import Clock
from pinpip.config import Config, KafkaSource

Ends = dict[Partition, Position]


def ends_of(config: Config, name: str) -> Ends:
    """Where the partitions of a Kafka pipeline end now; Kinesis does not tell: empty."""
    source = config.pipeline(name).source
    if not isinstance(source, KafkaSource):
        return {}
    found = end_positions(config.kafka.properties(), source.topics)
    return {partition: high for partition, (_, high) in found.items()}


def unread(
    config: Config,
    name: str,
    positions: Mapping[Partition, Position | None],
    older_than: datetime,
    clock: Clock,
) -> dict[Partition, int]:
    """Partitions with records beyond their position that are older than `older_than`.

    Kafka: an upper bound of how many, as offsets have gaps. Kinesis: a lower bound.
    """
    source = config.pipeline(name).source
    if isinstance(source, KafkaSource):
        return unread_since(config.kafka.properties(), source.topics, positions, older_than)
    client = aws.client(config.aws, "kinesis", CLIENT_CONFIG)
    return newest_unread(client, source.stream, positions, older_than, clock)
