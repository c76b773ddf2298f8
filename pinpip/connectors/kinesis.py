"""The stream of a pipeline: live, bounded, and what its shards hold beyond the tables."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from consumers.kinesis import faults
from consumers.kinesis.calls import CLIENT_CONFIG
from consumers.kinesis.ends import End, ends_beyond, epoch_now
from consumers.kinesis.life import created, milliseconds
from consumers.kinesis.shards import list_shards
from consumers.kinesis.source import KinesisSource
from consumers.until_end import Held, UntilEnd
from consumers.window import Window
from core import aws
from core import config as settings
from core.batch import KINESIS, Partition, Position, Positions
from core.clock import Clock
from core.config import Config
from core.errors import SourceError, TopicRecreated, TransientError
from core.retry import Outage
from pinpip.connectors.protocol import (
    UNREAD,
    Beyond,
    Replay,
    Row,
    SourceEnds,
    Starts,
    Watermarks,
    late,
    refuse_offsets,
)

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

    from audit.snapshot import Snapshot
    from audit.verify import PartitionSummary


@dataclass(frozen=True)
class KinesisConnector:
    """A `pinpip.connectors.protocol.Connector` of one stream, which has no offsets."""

    config: Config
    name: str
    source: settings.StreamSection
    clock: Clock
    coordinates = KINESIS

    @property
    def described(self) -> str:
        """The stream and its region."""
        where = f", where {self.source.where}" if self.source.where else ""
        return f"Kinesis {self.source.stream} in {aws.region(self.config.aws)}{where}"

    def live(self, outage: Outage, accepted: Mapping[Partition, int] | None) -> KinesisSource:
        """All shards, from where the sinks are; `accepted` only says whether a gap is."""
        return self._live(outage, accept_gap=accepted is not None)

    def until_end(
        self, outage: Outage, accepted: Mapping[Partition, int] | None, held: Held
    ) -> UntilEnd:
        """Read each shard to its tip, and the children of those that are closed."""
        source = self._live(outage, accept_gap=accepted is not None, until_end=True)
        return UntilEnd(source, None, held, self.clock)

    def bounded(self, *, headers: bool = False) -> KinesisSource:
        """Read what has arrived by now."""
        return self._bounded(Window())

    def replay(self, window: Window, held: Callable[[Collection[Partition]], Positions]) -> Replay:
        """Open the records of the range of time; raise ConfigError for a range of offsets."""
        refuse_offsets(window)
        source = self._bounded(window)
        config, stream = self.config, self.source.stream
        gone = partial(lacking, config, stream, window)
        return Replay(source, None, lambda: gone(self.clock.now()), self.ends())

    def watermarks(self) -> Watermarks:
        """None."""
        return {}

    def source_ends(self, *, must: bool) -> SourceEnds:
        """None."""
        return SourceEnds()

    def first_offsets(self) -> dict[Partition, int]:
        """None."""
        return {}

    def ends(self) -> dict[Partition, Position | None]:
        """Return the shards; raise SourceError when they cannot be listed."""
        stream = self.source.stream
        try:
            shards = list_shards(_client(self.config), stream)
        except (BotoCoreError, ClientError) as error:
            raise faults.explain(error, f"stream {stream}") from error
        return {Partition(stream, shard): None for shard in shards}

    def epochs(self, ends: Positions) -> dict[str, int | None]:
        """When the stream was created, in milliseconds."""
        try:
            return {self.source.stream: created(_client(self.config), self.source.stream)}
        except (BotoCoreError, ClientError):
            return {self.source.stream: None}

    def beyond(
        self, positions: Positions, watermarks: Watermarks, grace: float, table: "Snapshot"
    ) -> Beyond:
        """Return what the shards have beyond their positions, and the stream's identity."""
        stream = self.source.stream
        since = self.clock.now() - timedelta(seconds=grace)
        latest = self.source.start == "latest"
        try:
            client = _client(self.config)
            found = ends_beyond(
                client, stream, positions, since, self.clock, _tips(table), latest=latest
            )
        except TopicRecreated as error:
            return Beyond([("recreated", self.name, error.message)])
        except (SourceError, TransientError) as error:
            return Beyond(unknown={stream: f"{error.message}: {UNREAD}"})
        beyond = _of_shards(found, grace)
        beyond.epochs[stream] = epoch_now(client, stream, self.clock)
        return beyond

    def reach(
        self, tallies: "Mapping[Partition, PartitionSummary]", watermarks: Watermarks
    ) -> tuple[Starts, dict[Partition, Position]]:
        """Every shard of the tables, from the first record that it still has."""
        return dict.fromkeys(tallies), {}

    def forgetful(self) -> set[str]:
        """None: a stream is not compacted."""
        return set()

    def _live(self, outage: Outage, *, accept_gap: bool, until_end: bool = False) -> KinesisSource:
        return KinesisSource(
            _client(self.config),
            self.source.stream,
            clock=self.clock,
            start=self.source.start,
            memory=self._memory,
            outage=outage,
            accept_gap=accept_gap,
            until_end=until_end,
            readers=1 + len(self.config.neighbours(self.name)),
        )

    @property
    def _memory(self) -> int:
        return int(self.config.batching.memory) // 4

    def _bounded(self, window: Window) -> KinesisSource:
        return KinesisSource(
            _client(self.config),
            self.source.stream,
            clock=self.clock,
            memory=self._memory,
            window=window,
        )


def lacking(config: Config, stream: str, window: Window, now: datetime) -> list[Row]:
    """Return the stream if the range begins before the oldest record that it can have."""
    if window.is_unbounded:
        return []
    unknown: list[Row] = [{"partition": stream, "first_offset": None, "expired": None}]
    client = _client(config)
    try:
        told = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    except (BotoCoreError, ClientError):
        return unknown
    kept = now - timedelta(hours=told["RetentionPeriodHours"])
    younger = told["StreamCreationTimestamp"] > kept
    return [] if younger or (window.since is not None and window.since >= kept) else unknown


def _client(config: Config) -> "KinesisClient":
    client: KinesisClient = aws.client(config.aws, "kinesis", CLIENT_CONFIG)
    return client


def _tips(table: "Snapshot") -> Callable[[Partition], int | None]:
    """When each shard was last read to its end; in tables of before the last commit stands for it.

    In milliseconds; None: the table does not say.
    """
    at = table.committed_at
    committed = None if at is None else milliseconds(at)

    def tip(partition: Partition) -> int | None:
        told = table.tip(partition)
        return committed if told is None else told

    return tip


def _of_shards(shards: Mapping[Partition, End], grace: float) -> Beyond:
    wrong = [("position", str(p), end.wrong) for p, end in shards.items() if end.wrong]
    behind = [
        ("behind", str(p), late(f"at least {end.unread}", grace))
        for p, end in shards.items()
        if end.unread
    ]
    waiting = {p: end.young for p, end in shards.items() if end.young and not end.unread}
    doubts = {str(p): end.doubt for p, end in shards.items() if end.doubt}
    return Beyond([*wrong, *behind], waiting, doubts)
