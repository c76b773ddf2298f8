"""A bounded stretch of Kafka topics, read beside their live consumers.

No group is joined and nothing is committed: the positions sought alone say where to resume.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl
from confluent_kafka import Consumer, KafkaException

from consumers.kafka.client import REQUEST_TIMEOUT_S, partition_of, settings_beside, topic_partition
from consumers.kafka.offsets import Ends, ends_now
from consumers.kafka.reader import Reader
from consumers.kafka.source import BUDGET, CHUNK
from consumers.kafka.watermarks import partitions_of
from consumers.window import Window
from core.batch import KAFKA, Partition, Position, Positions, Records, Span
from core.clock import SystemClock
from core.errors import SourceError
from core.observer import Horizon
from core.origins import Start
from core.protocols import Listener
from core.topic_id import Known


class BoundedKafkaSource:
    """A core.protocols.Source over the `window` of `topics`, exhausted at its end.

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

    def open(self, listener: Listener) -> None:
        """Fix the ends; SourceError when no broker or topic is there."""
        self._reader = Reader(self._settings, headers=self._headers, chunk=self._chunk)
        partitions = partitions_of(self._reader.consumer, self._topics)
        if not partitions:
            raise SourceError(
                f"there is no topic {', '.join(self._topics)}",
                "see kafka and source in config.yaml",
            )
        self._bound(ends_now(self._reader.admin, partitions, SystemClock()))
        self._open |= set(partitions)
        listener.assigned(partitions)

    def poll(self, timeout: float) -> Records | None:
        """Return the next records of the window, or None.

        Raises SourceError when a position lies before the window: going on would leave a gap.
        """
        for partition, position in self._reader.sought.items():
            self._refuse_gap(partition, position)
        for partition in self._reader.begin(timeout):
            self._leave_if_done(partition)
        records = self._reader.read(timeout)
        return records and self._cut(records)

    def starts(self, sources: Collection[str]) -> Mapping[str, Start]:  # noqa: ARG002
        """None: a window begins where it was told to."""
        return {}

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """Check the topics against what the sinks know, before these partitions are read."""
        self._reader.placement.known |= known

    def seek(self, positions: Positions) -> None:
        """Read each partition from its position (None: from the window's start)."""
        ours = {p: position for p, position in positions.items() if p in self._ends}
        self._reader.seek(ours)
        self._open |= set(ours)

    def pause(self) -> None:
        """Fetch nothing; the client's queue is dropped and fetched again later."""
        self._reader.pause()

    def resume(self) -> None:
        """Fetch again."""
        self._reader.resume()

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        """Nothing: the live consumer's group is none of a replay's business."""

    def horizons(self) -> Mapping[Partition, Horizon]:
        """None: a replay is never compared with the topic's end."""
        return {}

    @property
    def exhausted(self) -> bool:
        """Whether every partition has reached its end."""
        return not self._open

    @property
    def begun(self) -> Mapping[Partition, int]:
        """Where the window begins in each partition, once it was opened."""
        return self._reader.placement.firsts

    @property
    def left(self) -> int:
        """Offsets still to be read."""
        begun, firsts = self._reader.next, self._reader.placement.firsts
        return sum(self._ends[p] - begun.get(p, firsts[p]) for p in self._open)

    def close(self) -> None:
        """Close the client."""
        self._reader.close()

    def _bound(self, ends: Mapping[Partition, Ends]) -> None:
        own = self._window.first
        firsts = {p: low if own is None else own for p, (low, _) in ends.items()}
        if self._window.since is not None:
            found = _offsets_at(self._reader.consumer, ends, self._window.since)
            firsts = {p: max(first, found[p]) for p, first in firsts.items()}
        for partition, (_, high) in ends.items():
            last = self._window.last
            self._ends[partition] = high if last is None else min(last, high)
            self._reader.placement.firsts[partition] = min(firsts[partition], high)

    def _refuse_gap(self, partition: Partition, position: Position | None) -> None:
        first = self._reader.placement.firsts[partition]
        if position is not None and position.number < first:
            raise SourceError(
                f"the table holds {partition} up to offset {position.number}, the replay starts at "
                f"{first}: it would leave a gap",
                "replay into a table of its own",
            )

    def _leave_if_done(self, partition: Partition) -> None:
        if self._reader.next[partition] >= self._ends[partition]:
            self._reader.leave(partition)
            self._open.remove(partition)

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


def _offsets_at(
    consumer: Consumer, ends: Mapping[Partition, Ends], since: datetime
) -> dict[Partition, int]:
    """Return the first offset with a timestamp at or after `since`; the end when there is none.

    The first of all for a broker that does not know times (librdkafka's mock cluster): the rows are
    filtered.
    """
    found = _search(consumer, ends, int(since.timestamp() * 1000))
    oldest = _search(consumer, [p for p, offset in found.items() if offset < 0], 0)
    beyond = {p: ends[p][1] if offset >= 0 else ends[p][0] for p, offset in oldest.items()}
    return found | beyond


def _search(
    consumer: Consumer, partitions: Collection[Partition], milliseconds: int
) -> dict[Partition, int]:
    """Return the broker's answers to a search by time; negative where it has none."""
    wanted = [topic_partition(partition, milliseconds) for partition in partitions]
    if not wanted:
        return {}
    try:
        found = consumer.offsets_for_times(wanted, timeout=REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise SourceError(
            f"{wanted[0].topic} cannot be searched by time: {error.args[0].str()}",
            "see that the broker is well, or replay by offsets",
        ) from error
    return {partition_of(own): int(own.offset) for own in found}
