"""What the sources hold: asked by verify and status."""

from collections.abc import Mapping
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from consumers import kinesis_faults
from consumers.kafka_client import end_positions, high_watermarks
from consumers.kafka_ends import unread_since
from consumers.kinesis import CLIENT_CONFIG
from consumers.kinesis_ends import newest_unread
from consumers.shards import list_shards
from pinpip import aws, kafka
from pinpip.batch import Partition, Position
from pinpip.clock import Clock
from pinpip.config import Config, KafkaSource


def ends_of(config: Config, name: str) -> dict[Partition, Position | None]:
    """The partitions of the pipeline's source and where they end now; Kinesis says no end: None.

    Raises SourceError when the source does not answer.
    """
    source = config.pipeline(name).source
    if isinstance(source, KafkaSource):
        found = end_positions(kafka.properties(config), source.topics)
        return {partition: high for partition, (_, high) in found.items()}
    client = aws.client(config.aws, "kinesis", CLIENT_CONFIG)
    try:
        shards = list_shards(client, source.stream)
    except (BotoCoreError, ClientError) as error:
        raise kinesis_faults.explain(error, f"stream {source.stream}") from error
    return {Partition(source.stream, shard): None for shard in shards}


def high_watermarks_of(config: Config, name: str) -> dict[Partition, Position]:
    """Where a Kafka source's partitions end when open transactions count as well."""
    source = config.pipeline(name).source
    if not isinstance(source, KafkaSource):
        return {}
    return high_watermarks(kafka.properties(config), source.topics)


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
        return unread_since(kafka.properties(config), source.topics, positions, older_than)
    client = aws.client(config.aws, "kinesis", CLIENT_CONFIG)
    return newest_unread(client, source.stream, positions, older_than, clock)
