"""What the sources hold: asked by verify and status."""

from collections.abc import Mapping
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from consumers import kinesis_faults
from consumers.kafka_client import end_positions, high_watermarks, outside
from consumers.kafka_ends import unread_since
from consumers.kinesis import CLIENT_CONFIG
from consumers.kinesis_ends import newest_unread
from consumers.shards import list_shards
from pinpip import aws, kafka
from pinpip.batch import Partition, Position, Positions
from pinpip.cli.compose import group_of
from pinpip.clock import Clock
from pinpip.config import Config, KafkaSource
from pinpip.errors import RecordsExpired

Marks = Mapping[Partition, tuple[Position, Position]]


def ends_of(config: Config, name: str) -> dict[Partition, Position | None]:
    """The partitions of the pipeline's source and where they end now; Kinesis says no end: None.

    Raises SourceError when the source does not answer.
    """
    source = config.pipeline(name).source
    if isinstance(source, KafkaSource):
        return {partition: high for partition, (_, high) in marks_of(config, name).items()}
    client = aws.client(config.aws, "kinesis", CLIENT_CONFIG)
    try:
        shards = list_shards(client, source.stream)
    except (BotoCoreError, ClientError) as error:
        raise kinesis_faults.explain(error, f"stream {source.stream}") from error
    return {Partition(source.stream, shard): None for shard in shards}


def marks_of(config: Config, name: str) -> dict[Partition, tuple[Position, Position]]:
    """The first offset and the end of each partition; Kinesis tells neither.

    The end is the last stable offset: transactions that are still open lie beyond it.
    """
    source = config.pipeline(name).source
    if not isinstance(source, KafkaSource):
        return {}
    return end_positions(kafka.properties(config), source.topics)


def misplaced(positions: Positions, marks: Marks) -> list[tuple[Partition, str, str]]:
    """Positions that the source cannot have: (partition, kind of finding, what is wrong).

    A table may be behind or at the end; never beyond it, nor before the first offset: then
    records expired unread. Kafka takes no partition away from a topic.
    """
    found = []
    topics = {p.source for p in marks}
    for partition, position in positions.items():
        if partition in marks and position is not None:
            low, high = marks[partition]
            error = outside(partition, position.number, low.number, high.number)
            if error is not None:
                kind = "expired" if isinstance(error, RecordsExpired) else "position"
                found.append((partition, kind, str(error).partition("\n")[0]))
        elif partition not in marks and partition.source in topics:
            gone = f"topic {partition.source} has no partition {partition.id}: it was re-created"
            found.append((partition, "position", gone))
    return found


def high_watermarks_of(config: Config, name: str) -> dict[Partition, Position]:
    """Where a Kafka source's partitions end when open transactions count as well."""
    source = config.pipeline(name).source
    if not isinstance(source, KafkaSource):
        return {}
    return high_watermarks(kafka.properties(config), source.topics)


def unread(
    config: Config,
    name: str,
    positions: Positions,
    older_than: datetime,
    clock: Clock,
) -> dict[Partition, int]:
    """Partitions with records beyond their position that are older than `older_than`.

    Kafka: an upper bound of how many, as offsets have gaps. Kinesis: a lower bound.
    """
    source = config.pipeline(name).source
    if isinstance(source, KafkaSource):
        group = group_of(config, name)
        return unread_since(kafka.properties(config), source.topics, group, positions, older_than)
    client = aws.client(config.aws, "kinesis", CLIENT_CONFIG)
    return newest_unread(client, source.stream, positions, older_than, clock)
