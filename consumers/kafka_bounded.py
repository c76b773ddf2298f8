"""A stretch of Kafka topics, read once: for replays, without joining or touching any group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from consumers.kafka_client import (
    offset_at,
    partitions_of,
    settings,
    topic_partition,
    watermarks,
)
from consumers.kafka_reader import Reader
from pinpip.batch import KAFKA, Listener, Partition, Position, Positions, Records, Span
from pinpip.errors import SourceError


@dataclass(frozen=True)
class Window:
    """Offsets [from_offset, until_offset) of every partition and times [since, until), aware.

    What is None does not bound; nothing written after the source was opened is in.
    """

    from_offset: int | None = None
    until_offset: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def inside(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows whose times are in the window: times of a partition are not in order."""
        if self.since is not None:
            frame = frame.filter(pl.col("_timestamp") >= self.since)
        if self.until is not None:
            frame = frame.filter(pl.col("_timestamp") < self.until)
        return frame


class BoundedKafkaSource:
    """The records of `topics` in `window`; the listener's positions resume a replay.

    `bounds` are, once it is open, the offsets that each partition is read between.
    """

    coordinates = KAFKA
    bounds: Mapping[Partition, tuple[int, int]]
    _reader: Reader
    _listener: Listener

    def __init__(
        self,
        properties: Mapping[str, Any],
        topics: Sequence[str],
        window: Window,
        *,
        budget: int = 256 * 1024 * 1024,
        want_headers: bool = False,
        chunk: int = 10_000,
    ) -> None:
        self._settings = settings(properties, "pinpip-replay", budget)
        self._topics, self._window = topics, window
        self._headers, self._chunk = want_headers, chunk
        self._left: set[Partition] = set()
        self._begun = False

    def open(self, listener: Listener) -> None:
        """Fix the bounds; ConfigError, or SourceError for a broker or topic that is not there."""
        self._listener = listener
        self._reader = Reader(self._settings, headers=self._headers, chunk=self._chunk)
        partitions = partitions_of(self._reader.consumer, self._topics)
        absent = sorted(set(self._topics) - {p.source for p in partitions})
        if absent:
            raise SourceError(
                f"topic {', '.join(absent)} does not exist", "see the pipeline's `topics`"
            )
        self.bounds = {partition: self._bounds(partition) for partition in partitions}
        self._reader.floors = {p: first for p, (first, _) in self.bounds.items()}

    @property
    def exhausted(self) -> bool:
        """Whether every partition has been read to its end."""
        return self._begun and not self._left

    def poll(self, timeout: float) -> Records | None:
        """The next records of the window; the errors are those of the live source."""
        if not self._begun:
            self._begin(self._listener.assigned(list(self.bounds)))
            self._begun = True
        records = self._reader.read(timeout) if self._left else None
        return self._cut(records) if records else None

    def seek(self, positions: Positions) -> None:
        """Read each partition again from its position."""
        finished = {p: position for p, position in positions.items() if p not in self._left}
        self._reader.seek({p: positions[p] for p in positions.keys() & self._left})
        self._begin(finished)

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        """Nothing: a replay has no group."""

    def close(self) -> None:
        """Let go of the broker."""
        self._reader.consumer.close()

    def _bounds(self, partition: Partition) -> tuple[int, int]:
        window, consumer = self._window, self._reader.consumer
        low, high = watermarks(consumer, partition)
        first = low if window.from_offset is None else window.from_offset
        if window.since is not None:
            first = max(first, offset_at(consumer, partition, window.since, high) or low)
        return first, high if window.until_offset is None else min(high, window.until_offset)

    def _begin(self, positions: Positions) -> None:
        for partition, position in positions.items():
            first, end = self.bounds[partition]
            if max(first, position.number if position else 0) < end:
                target = self._reader.place(partition, position)
                self._reader.consumer.incremental_assign([target])
                self._left.add(partition)

    def _cut(self, records: Records) -> Records:
        ends = {p: Position(self.bounds[p][1]) for p in records.spans}
        frame = self._window.inside(records.frame.remove(KAFKA.beyond(ends)))
        counts = KAFKA.counts(frame)
        spans = {
            p: Span(span.start, min(span.end, ends[p]), counts.get(p, 0))
            for p, span in records.spans.items()
        }
        self._finish([p for p, span in spans.items() if span.end == ends[p]])
        return Records(frame, spans, KAFKA)

    def _finish(self, partitions: list[Partition]) -> None:
        self._reader.drop(partitions)
        self._left.difference_update(partitions)
        self._reader.consumer.incremental_unassign([topic_partition(p) for p in partitions])
