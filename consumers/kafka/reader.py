"""Reading Kafka from given offsets: shared by the group's member and the bounded source."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import polars as pl
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from consumers.kafka.bounded_poll import BoundedPoll
from consumers.kafka.client import (
    admin_client,
    await_brokers,
    client,
    partition_of,
    poll_bytes,
    report,
    topic_partition,
)
from consumers.kafka.messages import OffsetRange, frame_of, ranges
from consumers.kafka.offsets import PlacementRequest
from consumers.kafka.placement import Placement
from consumers.kafka.topic_identity import TopicIdentity, TopicIds
from core import kafka_errors
from core.batch import KAFKA, Partition, Position, Positions, Records, Span
from core.clock import SystemClock
from core.errors import SourceError, TransientError
from core.repeats import Repeats
from core.retry import Outage

MAX_WAIT_S = 1.0
_BUSY_WAIT_S = 0.05  # as long as the client's queue goes on to be filled, nobody waits for it
_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001  # librdkafka's own codes are spelt so
_STATE = KafkaError._STATE  # noqa: SLF001
_OUT_OF_RANGE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001
_log = structlog.get_logger()


class Reader:
    """A client and the next offset in each partition that it reads.

    `sought` are the partitions that `seek` named and that are not read from there yet. It reads one
    life of a topic: TopicRecreated is raised for another. Only a `member` needs a right to its
    group. `outage` is told when no broker answers. `from_end`: see Placement.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any],
        *,
        headers: bool,
        chunk: int,
        from_end: bool = False,
        member: bool = False,
        outage: Outage | None = None,
    ) -> None:
        self._outage = outage or Outage("source", SystemClock())
        self._errors: list[KafkaError] = []
        self._repeats = Repeats(SystemClock())
        self.consumer = client(configuration, self._errors)
        self.admin = admin_client(configuration)
        self.next: dict[Partition, int] = {}
        self.sought: dict[Partition, Position | None] = {}
        self.identity = TopicIdentity(TopicIds(self.admin, self.consumer))
        self.placement = Placement(self.identity, from_end=from_end)
        self._start: dict[Partition, Position | None] = {}
        self._absent: set[str] = set()
        self._paused: list[TopicPartition] | None = None
        self._request: PlacementRequest | None = None
        self._headers, self._from_end = headers, from_end
        self._poll = BoundedPoll(self.consumer, chunk, poll_bytes(configuration), SystemClock())
        self._tolerated = set() if member else {KafkaError.GROUP_AUTHORIZATION_FAILED}

    def close(self) -> None:
        """Leave the group and end the clients; nothing is left of them for a second call."""
        self.consumer.close()
        self._request = None
        for owner, name in ((self, "admin"), (self.identity, "ids")):
            vars(owner).pop(name, None)

    def seek(self, positions: Positions) -> None:
        """Have `begin` read these partitions from their positions.

        Ends that were requested before are dropped: a position may lie beyond them.
        """
        self.sought |= positions
        self._request = None

    def begin(self, timeout: float) -> Positions:
        """Start or move the partitions in `sought`; return those that are read now.

        Waits `timeout` seconds for the brokers' answers, hardly at all while others are read: what
        is not told yet stays in `sought`. Raises as `Placement.offsets`.
        """
        if not self.sought or self.paused:
            return {}
        request = self._request or self._ask(self.sought)
        answered = request.is_answered(min(timeout, _BUSY_WAIT_S if self.next else MAX_WAIT_S))
        self._request = None if answered else request
        return self._begin(request) if answered else {}

    def _begin(self, request: PlacementRequest) -> Positions:
        wanted = {p: at for p, at in self.sought.items() if p in request.offsets.partitions}
        running = set(self.next)
        starts = {partition_of(start): start for start in self._place(wanted, request)}
        self.placement.note_waiting(wanted.keys() - starts.keys(), request.complaint)
        for partition in starts.keys() & running:
            self._move(starts[partition])
        new = [start for partition, start in starts.items() if partition not in running]
        if new:
            self.consumer.incremental_assign(new)
        return {partition: self.sought.pop(partition) for partition in starts}

    def place(self, positions: Positions) -> list[TopicPartition]:
        """Expect the partitions from their positions on; return the offsets to read from.

        Waits for the brokers. Raises as `Placement.offsets`, and TransientError while no broker can
        tell.
        """
        request = self._ask(positions)
        starts = self._place(positions, request)
        if len(starts) < len(positions):
            raise TransientError(
                f"{min(positions)} cannot be read yet: {request.complaint}",
                "see that the broker runs and the topic exists",
            )
        return starts

    def _ask(self, partitions: Collection[Partition]) -> PlacementRequest:
        """Request the ends of the partitions and the ids of their topics."""
        topics = {partition.source for partition in partitions}
        return PlacementRequest(self.admin, partitions, self.identity.ids.ask(topics))

    def _place(self, positions: Positions, request: PlacementRequest) -> list[TopicPartition]:
        offsets = self.placement.offsets(positions, request, self.next)
        self.next |= offsets
        self._start |= {partition: positions[partition] for partition in offsets}
        return [topic_partition(partition, offset) for partition, offset in offsets.items()]

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget `partitions`: their records are no longer wanted."""
        for partition in partitions:
            self.next.pop(partition, None)
            self._start.pop(partition, None)
            self.sought.pop(partition, None)
            self.placement.forget(partition)
        self.identity.keep({partition.source for partition in self.next})

    def leave(self, partition: Partition) -> None:
        """Fetch no more of a partition, and forget it."""
        self.consumer.incremental_unassign([topic_partition(partition)])
        self.drop([partition])

    def _move(self, target: TopicPartition) -> None:
        try:
            self.consumer.seek(target)
        except KafkaException as error:
            if error.args[0].code() != _STATE:
                raise SourceError(f"{target} cannot be sought: {error.args[0].str()}") from error
            self.consumer.incremental_unassign([target])  # not fetching yet: nothing to seek in
            self.consumer.incremental_assign([target])

    def pause(self) -> None:
        """Fetch nothing; the client's queue is dropped and fetched again later."""
        self._paused = [topic_partition(p) for p in self.next]
        self.consumer.pause(self._paused)

    def resume(self) -> None:
        """Fetch again, also what was taken away meanwhile and may come back.

        Each partition is sought: the client may have noted a place behind the records that it
        dropped, when the partition's leader changed meanwhile.
        """
        if self._paused is not None:
            self.consumer.resume(self._paused)
            for partition in map(partition_of, self._paused):
                if partition in self.next and partition not in self.sought:
                    self._move(topic_partition(partition, self.next[partition]))
        self._paused = None

    @property
    def paused(self) -> bool:
        """Whether `pause` is in force."""
        return self._paused is not None

    def read(self, timeout: float) -> Records | None:
        """Return the next records that are due; wait `timeout` seconds, one at most.

        None of a partition in `sought`: those are read from elsewhere soon.
        """
        messages = self._poll.take(min(timeout, MAX_WAIT_S))
        good = [message for message in messages if message.error() is None]
        ends = self._hear(messages) if len(good) < len(messages) else {}
        while self._errors:
            self._report(self._errors.pop(0))
        if self._outage.seconds():
            await_brokers(self.consumer, self._outage)
        if not (good or ends):
            self.identity.watch(self.next)
            return None
        asked = self.identity.ids.ask({partition.source for partition in self.next})
        records = self._take(good, ends)
        if records is None:
            return None
        self._poll.learn(records)
        records = self.identity.dated(records, asked)
        self._start |= {partition: span.end for partition, span in records.spans.items()}
        left = records.without(self.sought) if self.sought else records
        return left if left.spans else None

    def _hear(self, messages: Iterable[Message]) -> dict[Partition, int]:
        """Return the partition ends that were reached; raise what waiting does not repair."""
        ends: dict[Partition, int] = {}
        for message in messages:
            error = message.error()
            if error is None:
                continue
            partition = Partition(message.topic() or "", str(message.partition()))
            if error.code() == _EOF:
                ends[partition] = message.offset() or 0
            elif error.code() in _OUT_OF_RANGE:
                self._restart(partition)
            elif error.code() in kafka_errors.UNKNOWN_TOPIC:
                self._await_topic(partition.source)
            else:
                self._report(error)
        return ends

    def _report(self, error: KafkaError) -> None:
        if error.code() not in self._tolerated:
            report(error, self._outage, self._repeats)

    def _restart(self, partition: Partition) -> None:
        """Retention overtook the reader: an error, unless nothing of the partition was held yet."""
        if partition in self.next:
            position = Position(self.next[partition])
            self.seek({partition: position if self._start[partition] else None})

    def _await_topic(self, topic: str) -> None:
        if topic not in self._absent:
            self._absent.add(topic)
            _log.warning("kafka_awaits_topic", topic=topic, next="create it: it is read then")

    def _take(self, messages: Sequence[Message], ends: Mapping[Partition, int]) -> Records | None:
        """Return what is new in `messages` and in the partition ends that were reached."""
        frame, found = self._due(frame_of(messages, headers=self._headers))
        spans: dict[Partition, Span] = {}
        for partition in self.next.keys() & (found.keys() | ends.keys()):
            span = self._span(partition, found.get(partition), ends.get(partition, 0))
            if span is not None:
                spans[partition] = span
                self.next[partition], self._start[partition] = span.end.number, span.end
        return Records(frame, spans, KAFKA) if spans else None

    def _due(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[Partition, OffsetRange]]:
        """Drop the rows that were fetched before a seek or a revocation."""
        found = ranges(frame)
        if all(p in self.next and own.first >= self.next[p] for p, own in found.items()):
            return frame, found
        frame = frame.filter(KAFKA.beyond({p: Position(n) for p, n in self.next.items()}))
        return frame, ranges(frame)

    def _span(self, partition: Partition, own: OffsetRange | None, reached: int) -> Span | None:
        """Return the span that was read of the partition, None without news.

        A beginning at the end of a partition is news, so that the sinks store it.
        """
        start, gap = self._start[partition], self.placement.gaps.passed.pop(partition, None)
        end = max(own.end if own else 0, reached, self.next[partition])
        pinned = start is not None or partition in self.placement.firsts
        if own or gap or end > self.next[partition] or (self._from_end and not pinned):
            return Span(start, Position(end), own.records if own else 0, gap)
        return None
