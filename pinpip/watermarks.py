"""What the sources hold: asked by verify and status."""

from collections.abc import Callable, Mapping
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from consumers.kafka.ends import end_positions, high_watermarks, unread_since
from consumers.kafka.offsets import outside
from consumers.kinesis import faults as kinesis_faults
from consumers.kinesis.calls import CLIENT_CONFIG
from consumers.kinesis.ends import End, ends_beyond, epoch_now
from consumers.kinesis.life import created
from consumers.kinesis.shards import list_shards
from core import aws, kafka
from core.batch import Partition, Position, Positions
from core.clock import Clock
from core.config import Config, KafkaSource, KinesisSource
from core.errors import RecordsExpired
from core.topics import matches
from pinpip.pipelines import group_of

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


def epochs_of(config: Config, name: str, ends: Positions) -> dict[str, int | None]:
    """The epoch of each topic or stream now, None where it is not told; `ends` as of `ends_of`."""
    source = config.pipeline(name).source
    if isinstance(source, KafkaSource):
        return {p.source: None if end is None else end.epoch for p, end in ends.items()}
    client = aws.client(config.aws, "kinesis", CLIENT_CONFIG)
    try:
        return {source.stream: created(client, source.stream)}
    except (BotoCoreError, ClientError):
        return {source.stream: None}


def marks_of(config: Config, name: str) -> dict[Partition, tuple[Position, Position]]:
    """The first offset and the end of each partition; Kinesis tells neither.

    The end is the last stable offset: transactions that are still open lie beyond it.
    """
    source = config.pipeline(name).source
    if not isinstance(source, KafkaSource):
        return {}
    return end_positions(kafka.properties(config), source.topics)


def first_offsets(config: Config, name: str) -> dict[Partition, int]:
    """The first offset that each partition of a Kafka source has now."""
    return {partition: low.number for partition, (low, _) in marks_of(config, name).items()}


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
    config: Config, name: str, positions: Positions, older_than: datetime
) -> dict[Partition, int]:
    """Partitions of Kafka with records beyond their position that are older than `older_than`.

    An upper bound of how many, as offsets have gaps.
    """
    source = config.pipeline(name).source
    if not isinstance(source, KafkaSource):
        return {}
    group = group_of(config, name)
    return unread_since(kafka.properties(config), source.topics, group, positions, older_than)


def shard_ends(
    config: Config,
    source: KinesisSource,
    positions: Positions,
    older_than: datetime,
    clock: Clock,
    tip: Callable[[Partition], int | None],
) -> dict[Partition, End]:
    """What each shard holds beyond its position; see `ends_beyond`."""
    return ends_beyond(
        aws.client(config.aws, "kinesis", CLIENT_CONFIG),
        source.stream,
        positions,
        older_than,
        clock,
        tip,
        latest=source.start == "latest",
    )


def stream_epoch(config: Config, source: KinesisSource, clock: Clock) -> int | None:
    """The stream's identity; None where Kinesis denies it, or does not tell in time."""
    return epoch_now(aws.client(config.aws, "kinesis", CLIENT_CONFIG), source.stream, clock)


def absent_topics(source: KafkaSource, marks: Marks) -> list[str]:
    """The names and patterns of which the cluster has no topic."""
    there = {partition.source for partition in marks}
    return [name for name in source.topics if not any(matches(name, topic) for topic in there)]
