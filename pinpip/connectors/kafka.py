"""The topics of a pipeline: live, bounded, their ends, and what they hold beyond the tables."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from consumers.kafka.offsets import misplaced
from consumers.kafka.watermarks import (
    forgetful_topics,
    high_watermarks,
    stable_watermarks,
    unread_since,
)
from consumers.until_end import Held, UntilEnd
from consumers.window import Window
from core import config as settings
from core import kafka
from core.batch import KAFKA, Partition, Position, Positions, Stretch
from core.clock import Clock
from core.config import Config
from core.errors import PinpipError, RecordsExpired, SourceError, TopicRecreated, TransientError
from core.retry import Outage
from core.topics import matches
from pinpip.connectors.expired import lacking, refuse_expired
from pinpip.connectors.protocol import (
    UNREAD,
    Beyond,
    Replay,
    SourceEnds,
    Starts,
    Watermarks,
    lag,
    late,
)

if TYPE_CHECKING:
    from audit.snapshot import Snapshot
    from audit.verify import PartitionSummary
    from consumers.kafka.replay import BoundedKafkaSource
    from consumers.kafka.source import KafkaSource

_ABSENT = f"the cluster has no such topic: {UNREAD}"


@dataclass(frozen=True)
class KafkaConnector:
    """A `pinpip.connectors.protocol.Connector` of the topics of the pipeline `name`."""

    config: Config
    name: str
    source: settings.TopicsSection
    clock: Clock
    coordinates = KAFKA

    @property
    def described(self) -> str:
        """The topics and the brokers."""
        topics, kafka = ", ".join(self.source.topics), self.config.kafka
        brokers = kafka.bootstrap_servers if kafka else "no brokers"
        tombstones = ", less tombstones" if self.source.drops_tombstones else ""
        where = f", where {self.source.where}" if self.source.where else ""
        return f"Kafka {topics} at {brokers}{where}{tombstones}"

    def live(self, outage: Outage, accepted: Mapping[Partition, int] | None) -> "KafkaSource":
        """Make a member of the pipeline's group."""
        from consumers.kafka.source import KafkaSource

        topics = KafkaSource(
            self._properties,
            self.source.topics,
            self._group,
            budget=int(self.config.batching.memory),
            start=self.source.start,
            outage=outage,
            clock=self.clock,
            want_headers=self._wants_headers
            or any(p.tests_headers for p in self.config.neighbours(self.name).values()),
        )
        topics.accepted = accepted or {}
        return topics

    def until_end(
        self, outage: Outage, accepted: Mapping[Partition, int] | None, held: Held
    ) -> UntilEnd:
        """Fix the last stable offsets now; a topic or pattern that names no topic is an error."""
        watermarks = self.watermarks()
        if absent := _absent(self.source.topics, watermarks):
            raise SourceError(
                f"{self.name}: the cluster has no topic {', '.join(absent)}: nothing was consumed",
                "create it, or fix `topics` in config.yaml",
            )
        goal = {p: Stretch(low, high) for p, (low, high) in watermarks.items()}
        return UntilEnd(self.live(outage, accepted), goal, partial(self._there, held), self.clock)

    def _there(self, held: Held, partitions: Collection[Partition]) -> Positions:
        """Return how far the sinks are; None where the topic cannot have such a position.

        The partition's owner says what is wrong with it, and stops.
        """
        found = held(partitions)
        wrong = {partition for partition, *_ in misplaced(found, self.watermarks())}
        return {p: None if p in wrong else at for p, at in found.items()}

    def bounded(self, *, headers: bool = False) -> "BoundedKafkaSource":
        """All offsets up to the ends, with headers where an archive or `where` needs them."""
        return self._bounded(Window(), want_headers=headers or self._wants_headers)

    def replay(self, window: Window, held: Callable[[Collection[Partition]], Positions]) -> Replay:
        """Open the offsets or timestamps of the window; see `refuse_expired`."""
        watermarks = self.watermarks()
        lows = {p: low.number for p, (low, _) in watermarks.items()}
        at = {} if window.is_unbounded else held(lows)
        refuse_expired(window, lows, at)
        wanted = self.config.pipeline(self.name).tests_headers
        source = self._bounded(window, want_headers=wanted)
        total = _total(window, watermarks)
        ends = {p: high for p, (_, high) in watermarks.items()}
        return Replay(source, total, lambda: lacking(window, lows, source.begun, at), ends)

    def watermarks(self) -> Watermarks:
        """Return the first offsets and the last stable offsets, with the topics' epochs."""
        return stable_watermarks(self._properties, self.source.topics)

    def source_ends(self, *, must: bool) -> SourceEnds:
        """Return the watermarks, what open transactions hold back, and what topics are absent."""
        try:
            # First the high watermarks: what arrives between the two calls is not held back.
            highs = high_watermarks(self._properties, self.source.topics)
            watermarks = self.watermarks()
        except (SourceError, TransientError) as error:
            if must:
                raise
            return SourceEnds(unknown=self._unknown(error))
        held = {
            p: max(0, highs[p].number - high.number)
            for p, (_, high) in watermarks.items()
            if p in highs
        }
        absent = dict.fromkeys(_absent(self.source.topics, watermarks), _ABSENT)
        return SourceEnds(watermarks, held, absent)

    def first_offsets(self) -> dict[Partition, int]:
        """Return the first offset of each partition."""
        return {partition: low.number for partition, (low, _) in self.watermarks().items()}

    def ends(self) -> dict[Partition, Position | None]:
        """Return the last stable offsets."""
        return {partition: high for partition, (_, high) in self.watermarks().items()}

    def epochs(self, ends: Positions) -> dict[str, int | None]:
        """Return the topics' ids, as the ends carry them."""
        return {p.source: None if end is None else end.epoch for p, end in ends.items()}

    def unread(self, positions: Positions, older_than: datetime) -> dict[Partition, int]:
        """Partitions with records beyond their position that are older than `older_than`.

        An upper bound of how many, as offsets have gaps.
        """
        topics = self.source.topics
        return unread_since(self._properties, topics, self._group, positions, older_than)

    def beyond(
        self, positions: Positions, watermarks: Watermarks, grace: float, table: "Snapshot"
    ) -> Beyond:
        """Return the offsets beyond the positions, and positions that the topics cannot have."""
        try:
            return self._beyond(positions, watermarks, grace)
        except (SourceError, TransientError) as error:
            return Beyond(unknown=self._unknown(error))

    def reach(
        self, tallies: "Mapping[Partition, PartitionSummary]", watermarks: Watermarks
    ) -> tuple[Starts, dict[Partition, Position]]:
        """From the first offset; with `start: latest` from the table's first row."""
        starts: Starts = {}
        skips = {}
        for partition, (low, high) in watermarks.items():
            tally = tallies.get(partition)
            first = tally.first if tally and self.source.start == "latest" else 0
            if tally is None or tally.position is None or first is None or tally.position > high:
                skips[partition] = high
            else:
                starts[partition] = max(low, Position(int(first)))
        return starts, skips

    def forgetful(self) -> set[str]:
        """Return the compacted topics."""
        return forgetful_topics(self._properties, self.source.topics)

    @property
    def _group(self) -> str:
        return self.config.group(self.name)

    @property
    def _wants_headers(self) -> bool:
        own = self.config.pipeline(self.name)
        return own.keeps_raw or own.tests_headers

    @property
    def _properties(self) -> dict[str, Any]:
        return kafka.properties(self.config)

    def _bounded(self, window: Window, *, want_headers: bool) -> "BoundedKafkaSource":
        from consumers.kafka.replay import BoundedKafkaSource

        return BoundedKafkaSource(
            self._properties,
            self.source.topics,
            self._group,
            window,
            budget=int(self.config.batching.memory),
            want_headers=want_headers,
        )

    def _beyond(self, positions: Positions, watermarks: Watermarks, grace: float) -> Beyond:
        since = self.clock.now() - timedelta(seconds=grace)
        wrong = misplaced(positions, watermarks)
        findings = [(kind, str(partition), detail) for partition, kind, detail in wrong]
        at = {**positions, **{p: watermarks[p][1] for p, *_ in wrong if p in watermarks}}
        try:
            behind = self.unread(at, since) if watermarks else {}
        except RecordsExpired as error:
            return Beyond([*findings, ("expired", self.name, error.message)])
        except TopicRecreated as error:
            return Beyond([*findings, ("recreated", self.name, error.message)])
        findings += [("behind", str(p), late(str(n), grace)) for p, n in behind.items()]
        lags = {p: lag(at.get(p), low, high) for p, (low, high) in watermarks.items()}
        return Beyond(findings, {p: n for p, n in lags.items() if n and p not in behind})

    def _unknown(self, error: PinpipError) -> dict[str, str]:
        return {", ".join(self.source.topics): f"{error.message}: {UNREAD}"}


def _total(window: Window, watermarks: Watermarks) -> int:
    """How many offsets the window has."""
    first, last = window.first or 0, window.last
    spans = [
        (max(low.number, first), high.number if last is None else min(high.number, last))
        for low, high in watermarks.values()
    ]
    return sum(max(0, high - low) for low, high in spans)


def _absent(topics: Sequence[str], watermarks: Watermarks) -> list[str]:
    """Return the names and patterns that match no topic of the cluster."""
    there = {partition.source for partition in watermarks}
    return [name for name in topics if not any(matches(name, topic) for topic in there)]
