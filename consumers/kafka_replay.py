"""A bounded stretch of Kafka topics, read beside their live consumers.

No group is joined and nothing is committed: the positions sought alone say where to resume.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from confluent_kafka import Consumer, KafkaException

from consumers.kafka import BUDGET, CHUNK
from consumers.kafka_client import (
    REACH,
    begin_each,
    partitions_of,
    remaining,
    settings_beside,
    topic_partition,
    watermarks,
)
from consumers.kafka_reader import Reader
from consumers.kafka_window import Window
from pinpip.batch import KAFKA, Partition, Position, Positions, Records, Span
from pinpip.borders import Listener
from pinpip.epochs import Known
from pinpip.errors import SourceError


class BoundedKafkaSource:
    """A pinpip.borders.Source over the `window` of `topics`, exhausted at its end.

    It reads beside `group`, which it does not join.
    """

    coordinates = KAFKA
    _reader: Reader

    def __init__(
        self,
        properties: Mapping[str, Any],
        topics: Sequence[str],
        group: str,
        window: Window,
        *,
        budget: int = BUDGET,
        want_headers: bool = False,
        chunk: int = CHUNK,
    ) -> None:
        self._settings = settings_beside(properties, group, budget)
        self._topics = list(topics)
        self._window = window
        self._headers, self._chunk = want_headers, chunk
        self._ends: dict[Partition, int] = {}
        self._open: set[Partition] = set()
        self._sought: dict[Partition, Position | None] = {}

    def open(self, listener: Listener) -> None:
        """Fix the ends; SourceError when no broker or topic is there."""
        self._reader = Reader(self._settings, headers=self._headers, chunk=self._chunk)
        partitions = partitions_of(self._reader.consumer, self._topics)
        if not partitions:
            raise SourceError(
                f"there is no topic {', '.join(self._topics)}",
                "see kafka and source in config.yaml",
            )
        for partition in partitions:
            self._bound(partition)
        self._open |= set(partitions)
        listener.assigned(partitions)

    def poll(self, timeout: float) -> Records | None:
        """The next records of the window, or None.

        Raises SourceError when a position lies before the window: going on would leave a gap.
        """
        if not self._reader.paused:
            begin_each(self._sought, self._begin)
        records = self._reader.read(timeout)
        wanted = records and remaining(records, self._sought)
        return wanted and self._cut(wanted)

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """Check the topics against what the sinks know, before these partitions are read."""
        self._reader.known |= known

    def seek(self, positions: Positions) -> None:
        """Read each partition from its position (None: from the window's start)."""
        ours = {p: position for p, position in positions.items() if p in self._ends}
        self._sought |= ours
        self._open |= set(ours)

    def pause(self) -> None:
        """Fetch nothing; the client's queue is dropped and fetched again later."""
        self._reader.pause()

    def resume(self) -> None:
        """Fetch again."""
        self._reader.resume()

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        """Nothing: the live consumer's group is none of a replay's business."""

    @property
    def exhausted(self) -> bool:
        """Whether every partition has reached its end."""
        return not self._open

    @property
    def left(self) -> int:
        """Offsets still to be read."""
        begun, firsts = self._reader.next, self._reader.firsts
        return sum(self._ends[p] - begun.get(p, firsts[p]) for p in self._open)

    def close(self) -> None:
        """Close the client."""
        self._reader.close()

    def _bound(self, partition: Partition) -> None:
        low, high = watermarks(self._reader.consumer, partition)
        self._ends[partition] = high if self._window.last is None else min(self._window.last, high)
        first = low if self._window.first is None else self._window.first
        if self._window.since is not None:
            first = max(
                first, _offset_at(self._reader.consumer, partition, self._window.since, low)
            )
        self._reader.firsts[partition] = min(first, high)

    def _begin(self, partition: Partition, position: Position | None) -> None:
        self._refuse_gap(partition, position)
        if partition in self._reader.next:
            self._stop(partition)
        start = self._reader.place(partition, position)
        self._reader.consumer.incremental_assign([start])
        self._leave_if_done(partition)

    def _refuse_gap(self, partition: Partition, position: Position | None) -> None:
        first = self._reader.firsts[partition]
        if position is not None and position.number < first:
            raise SourceError(
                f"the table holds {partition} up to offset {position.number}, the replay starts at "
                f"{first}: it would leave a gap",
                "replay into a table of its own",
            )

    def _leave_if_done(self, partition: Partition) -> None:
        if self._reader.next[partition] >= self._ends[partition]:
            self._stop(partition)
            self._open.remove(partition)

    def _stop(self, partition: Partition) -> None:
        self._reader.consumer.incremental_unassign([topic_partition(partition)])
        self._reader.drop([partition])

    def _cut(self, records: Records) -> Records | None:
        """Without what lies beyond the window; partitions that reached its end are left."""
        spans = {p: self._clipped(p, span) for p, span in records.spans.items() if p in self._open}
        inside = [KAFKA.of(p) & ~KAFKA.unread(span.end) for p, span in spans.items()]
        for partition in spans:
            self._leave_if_done(partition)
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
