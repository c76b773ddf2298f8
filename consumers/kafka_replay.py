"""A bounded stretch of Kafka topics, read beside their live consumers.

No group is joined and nothing is committed: the listener's positions alone say where to resume.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumers.kafka import BUDGET, CHUNK
from consumers.kafka_client import REACH, partitions_of, settings, topic_partition, watermarks
from consumers.kafka_reader import Reader
from consumers.kafka_window import Window
from pinpip.batch import KAFKA, Listener, Partition, Position, Positions, Records, Span
from pinpip.errors import SourceError

GROUP = "pinpip-replay"


class BoundedKafkaSource:
    """A pinpip.batch.Source over the `window` of `topics`, exhausted at its end."""

    coordinates = KAFKA
    _reader: Reader

    def __init__(
        self,
        properties: Mapping[str, Any],
        topics: Sequence[str],
        window: Window,
        *,
        budget: int = BUDGET,
        want_headers: bool = False,
        chunk: int = CHUNK,
    ) -> None:
        self._settings = settings(properties, GROUP, budget)
        self._topics = list(topics)
        self._window = window
        self._headers, self._chunk = want_headers, chunk
        self._ends: dict[Partition, int] = {}
        self._open: set[Partition] = set()

    def open(self, listener: Listener) -> None:
        """Fix the ends and start where the listener says.

        Raises SourceError when no broker or topic is there, or the listener's position lies
        before the window: going on would leave a gap.
        """
        self._reader = Reader(self._settings, headers=self._headers, chunk=self._chunk)
        partitions = partitions_of(self._reader.consumer, self._topics)
        if not partitions:
            raise SourceError(
                f"there is no topic {', '.join(self._topics)}",
                "see kafka and source in config.yaml",
            )
        for partition in partitions:
            self._bound(partition)
        self._read_from(listener.assigned(partitions))

    def poll(self, timeout: float) -> Records | None:
        """The next records of the window, or None."""
        records = self._reader.read(timeout)
        return None if records is None else self._cut(records)

    def seek(self, positions: Positions) -> None:
        """Read each partition again from its position (None: from the window's start)."""
        self._leave([p for p in positions if p in self._open])
        self._read_from(positions)

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        """Nothing: the live consumer's group is none of a replay's business."""

    @property
    def exhausted(self) -> bool:
        """Whether every partition has reached its end."""
        return not self._open

    @property
    def left(self) -> int:
        """Offsets still to be read."""
        return sum(self._ends[p] - self._reader.next[p] for p in self._open)

    def close(self) -> None:
        """Close the client."""
        self._reader.consumer.close()

    def _bound(self, partition: Partition) -> None:
        low, high = watermarks(self._reader.consumer, partition)
        self._ends[partition] = high if self._window.last is None else min(self._window.last, high)
        first = low if self._window.first is None else self._window.first
        if self._window.since is not None:
            first = max(
                first, _offset_at(self._reader.consumer, partition, self._window.since, low)
            )
        self._reader.firsts[partition] = min(first, high)

    def _read_from(self, positions: Positions) -> None:
        starts = [self._start(partition, position) for partition, position in positions.items()]
        self._open |= set(positions)
        self._reader.consumer.incremental_assign(starts)
        self._leave([p for p in positions if self._reader.next[p] >= self._ends[p]])

    def _start(self, partition: Partition, position: Position | None) -> TopicPartition:
        first = self._reader.firsts[partition]
        if position is not None and position.number < first:
            raise SourceError(
                f"the table holds {partition} up to offset {position.number}, the replay starts at "
                f"{first}: it would leave a gap",
                "replay into a table of its own",
            )
        return self._reader.place(partition, position)

    def _leave(self, partitions: Sequence[Partition]) -> None:
        if partitions:
            targets = [topic_partition(p) for p in partitions]
            self._reader.consumer.incremental_unassign(targets)
            self._open -= set(partitions)

    def _cut(self, records: Records) -> Records | None:
        """Without what lies beyond the window; partitions that reached its end are left."""
        spans = {p: self._clipped(p, span) for p, span in records.spans.items() if p in self._open}
        inside = [KAFKA.of(p) & ~KAFKA.unread(span.end) for p, span in spans.items()]
        self._leave([p for p in spans if self._reader.next[p] >= self._ends[p]])
        self._reader.drop([p for p in spans if p not in self._open])
        if not spans:
            return None
        clipped = any(spans[p].end != records.spans[p].end for p in spans)
        frame = records.frame
        if clipped or len(spans) < len(records.spans):
            frame = frame.filter(pl.any_horizontal(inside))
        if clipped or self._window.is_timed:
            frame = self._window.inside(frame)
            counts = KAFKA.counts(frame)
            spans = {p: Span(s.start, s.end, counts.get(p, 0)) for p, s in spans.items()}
        return Records(frame, spans, KAFKA)

    def _clipped(self, partition: Partition, span: Span) -> Span:
        end = min(span.end, Position(self._ends[partition]))
        return Span(span.start, end, span.records)


def _offset_at(consumer: Consumer, partition: Partition, since: datetime, low: int) -> int:
    """The first offset with a timestamp at or after `since`; the end when there is none.

    `low` for a broker that does not know times (librdkafka's mock cluster): the rows are filtered.
    """
    found = _search(consumer, partition, int(since.timestamp() * 1000))
    if found >= 0:
        return found
    knows_times = _search(consumer, partition, 0) >= 0
    return watermarks(consumer, partition)[1] if knows_times else low


def _search(consumer: Consumer, partition: Partition, milliseconds: int) -> int:
    """The broker's answer to a search by time; negative when it has none."""
    try:
        [found] = consumer.offsets_for_times(
            [topic_partition(partition, milliseconds)], timeout=REACH
        )
    except KafkaException as error:
        raise SourceError(
            f"{partition} cannot be searched by time: {error.args[0].str()}",
            "see that the broker is well, or replay by offsets",
        ) from error
    return int(found.offset)
