"""Reading Kafka from given offsets: shared by the group's member and the bounded source."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from consumers.kafka.client import (
    admin_client,
    await_brokers,
    client,
    partition_of,
    remaining,
    report,
    topic_partition,
)
from consumers.kafka.gaps import Gaps
from consumers.kafka.ids import LONGEST, Asked, Epochs, TopicIds, patience
from consumers.kafka.messages import as_many_as, frame_of, ranges
from consumers.kafka.offsets import Ends, Offsets, Question, outside
from core.batch import KAFKA, Partition, Position, Positions, Records, Span
from core.clock import SystemClock
from core.errors import SourceError, TransientError
from core.retry import Outage
from core.topic_id import Known

LONGEST_WAIT = 1.0
GLANCE = 0.05  # as long as the client's queue goes on to be filled, nobody waits for it
_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001  # librdkafka's own codes are spelt so
_STATE = KafkaError._STATE  # noqa: SLF001
_OUT_OF_RANGE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001
_ABSENT = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}  # noqa: SLF001
_log = structlog.get_logger()


class Reader:
    """A client and where it reads in each of its partitions.

    `sought` are the partitions that `seek` named and that are not read from there yet.
    It reads one life of a topic: TopicRecreated is raised for another. A partition without a
    position begins at its entry in `firsts`; without one at its end if `from_end`, else at its
    first offset. Only a `member` needs a right to its group. `outage` hears when no broker answers.
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
        self.consumer = client(configuration, self._errors)
        self.admin = admin_client(configuration)
        self.next: dict[Partition, int] = {}
        self.sought: dict[Partition, Position | None] = {}
        self.firsts: dict[Partition, int] = {}
        self.gaps = Gaps()
        self.known: dict[Partition, Known] = {}
        self._start: dict[Partition, Position | None] = {}
        self._absent: set[str] = set()
        self._paused: list[TopicPartition] | None = None
        self.ids = TopicIds(self.admin, self.consumer)
        self._question: Question | None = None
        self._waiting: frozenset[Partition] = frozenset()
        self._epochs = Epochs()
        self._asked: Asked = {}
        self._headers, self._chunk, self._from_end = headers, chunk, from_end
        self._tolerated = set() if member else {KafkaError.GROUP_AUTHORIZATION_FAILED}
        self._most = chunk

    def close(self) -> None:
        """Leave the group and end the clients; nothing is left of them for a second call."""
        self.consumer.close()
        for client_of in ("admin", "ids"):
            vars(self).pop(client_of, None)

    def seek(self, positions: Positions) -> None:
        """Have `begin` read these partitions from their positions."""
        self.sought |= positions

    def begin(self, patience: float) -> Positions:
        """Start or move the partitions in `sought`; answers those that are read now.

        Waits `patience` seconds for the brokers' answers, hardly at all while others are read: what
        is not told yet stays in `sought`. Raises as `place`.
        """
        if not self.sought or self.paused:
            return {}
        question = self._question or self._ask(self.sought)
        answered = question.is_answered(min(patience, GLANCE if self.next else LONGEST_WAIT))
        self._question = None if answered else question
        return self._begin(question) if answered else {}

    def _begin(self, question: Question) -> Positions:
        wanted = {p: at for p, at in self.sought.items() if p in question.offsets.partitions}
        running = set(self.next)
        starts = {partition_of(start): start for start in self._place(wanted, question)}
        self._note_waiting(wanted.keys() - starts.keys(), question.complaint)
        for partition in starts.keys() & running:
            self._move(starts[partition])
        new = [start for partition, start in starts.items() if partition not in running]
        if new:
            self.consumer.incremental_assign(new)
        return {partition: self.sought.pop(partition) for partition in starts}

    def _note_waiting(self, waiting: Collection[Partition], complaint: str) -> None:
        """Say once of which partitions no broker tells the ends."""
        if waiting and self._waiting != waiting:
            _log.warning(
                "kafka_waits", partitions=len(waiting), first=str(min(waiting)), error=complaint
            )
        self._waiting = frozenset(waiting)

    def place(self, positions: Positions) -> list[TopicPartition]:
        """Expect the partitions from their positions on; answers the offsets to read from.

        Waits for the brokers. Raises TopicRecreated when a position, or the furthest one that is
        `known`, counts in an earlier life of the topic, RecordsExpired or SourceError when the
        partition does not reach there, and TransientError while no broker can tell.
        """
        question = self._ask(positions)
        starts = self._place(positions, question)
        if len(starts) < len(positions):
            raise TransientError(
                f"{min(positions)} cannot be read yet: {question.complaint}",
                "see that the broker runs and the topic exists",
            )
        return starts

    def _ask(self, partitions: Collection[Partition]) -> Question:
        topics = {partition.source for partition in partitions}
        return Question(Offsets(self.admin, partitions), self.ids.ask(topics))

    def _place(self, positions: Positions, question: Question) -> list[TopicPartition]:
        self._asked = {}  # of before: it may know another topic of that name
        ids, ends = self.ids.answers(question.ids, LONGEST), question.offsets.answers()
        late = self.ids.late(question.ids)
        placed = [
            self._place_one(partition, at, ends[partition], ids.get(partition.source))
            for partition, at in positions.items()
            if partition in ends and partition.source not in late
        ]
        return [start for start in placed if start is not None]

    def _place_one(
        self, partition: Partition, position: Position | None, ends: Ends, found: int | None
    ) -> TopicPartition | None:
        """None while it cannot be told whether a sink may be filled beside another one."""
        known = self.known.get(partition, Known(position, position))
        at = known.furthest or position or Position(self.next.get(partition, 0))
        for own in filter(None, (at, known.origin)):
            self._epochs.meet(partition, own, found)
        if found is None and at.epoch is not None and known.differs and self.ids.tell:
            return None
        low, high = ends
        first = self.firsts.get(partition, high if self._from_end else low)
        offset = position.number if position else first
        reached = max(offset, known.furthest.number if known.furthest else 0)
        offset = self.gaps.after(partition, offset, low, known.gaps)
        wrong = outside(partition, reached, 0, high)
        wrong = wrong or outside(partition, offset, low, high, known.empty)
        if wrong is not None:
            raise wrong
        self.next[partition], self._start[partition] = offset, position
        return topic_partition(partition, offset)

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Records of `partitions` are no longer wanted."""
        for partition in partitions:
            self.next.pop(partition, None)
            self._start.pop(partition, None)
            self.known.pop(partition, None)
            self.sought.pop(partition, None)
            self.gaps.take(partition)
        self._epochs.keep({partition.source for partition in self.next})

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
        """Fetch again, also what was taken away meanwhile and may come back."""
        if self._paused is not None:
            self.consumer.resume(self._paused)
        self._paused = None

    @property
    def paused(self) -> bool:
        """Whether `pause` is in force."""
        return self._paused is not None

    def read(self, timeout: float) -> Records | None:
        """The next records that are due; waits `timeout` seconds, one at most.

        None of a partition in `sought`: those are read from elsewhere soon.
        """
        messages = self.consumer.consume(self._most, min(timeout, LONGEST_WAIT))
        good = [message for message in messages if message.error() is None]
        ends = self._hear(messages) if len(good) < len(messages) else {}
        while self._errors:
            self._report(self._errors.pop(0))
        if self._outage.seconds():
            await_brokers(self.consumer, self._outage)
        if not (good or ends):
            self._look()
            return None
        asked = self.ids.ask({partition.source for partition in self.next})
        records = self._take(good, ends)
        if records is None:
            return None
        self._most = min(as_many_as(records) or self._most, self._chunk)
        return remaining(self._dated(records, asked), self.sought)

    def _look(self) -> None:
        """Let an idle reader hear of a topic created again, by the answer to its last look."""
        found = self.ids.answers(self._asked, 0)
        for partition, offset in self.next.items():
            self._epochs.meet(partition, Position(offset), found.get(partition.source))
        self._asked = self.ids.ask({partition.source for partition in self.next})

    def _dated(self, records: Records, asked: Asked) -> Records:
        """The records with the epoch that was known before they were fetched and still is after."""
        found, known = self.ids.answers(asked, patience(records.spans)), dict(self._epochs.known)
        spans: dict[Partition, Span] = {}
        for partition, span in records.spans.items():
            now = found.get(partition.source)
            self._epochs.meet(partition, span.start or Position(0), now)
            epoch = now if now == known.get(partition.source) else None
            self._start[partition] = end = replace(span.end, epoch=epoch)
            spans[partition] = replace(span, end=end)
        return replace(records, spans=spans)

    def _hear(self, messages: Iterable[Message]) -> dict[Partition, int]:
        """Ends of partitions that were reached; raises for what no waiting mends."""
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
            elif error.code() in _ABSENT:
                self._await_topic(partition.source)
            else:
                self._report(error)
        return ends

    def _report(self, error: KafkaError) -> None:
        if error.code() not in self._tolerated:
            report(error, self._outage)

    def _restart(self, partition: Partition) -> None:
        """Retention overtook the reader: an error, unless nothing of the partition was held yet."""
        if partition in self.next:
            position = Position(self.next[partition])
            self.seek({partition: position if self._start[partition] else None})

    def _await_topic(self, topic: str) -> None:
        if topic not in self._absent:
            self._absent.add(topic)
            _log.warning("kafka_awaits_topic", topic=topic)

    def _take(self, messages: Sequence[Message], ends: Mapping[Partition, int]) -> Records | None:
        """What is due of `messages`: leaves out what was fetched before a seek or revocation."""
        frame = frame_of(messages, headers=self._headers)
        found = ranges(frame)
        if any(p not in self.next or found[p].first < self.next[p] for p in found):
            frame = frame.filter(KAFKA.beyond({p: Position(n) for p, n in self.next.items()}))
            found = ranges(frame)
        spans: dict[Partition, Span] = {}
        unkept = {p for p, at in self._start.items() if self._from_end and at is None}
        unkept -= self.firsts.keys()
        for partition in self.next.keys() & (found.keys() | ends.keys()):
            own = found.get(partition)
            end = max(own.end if own else 0, ends.get(partition, 0), self.next[partition])
            if own or partition in unkept or end > self.next[partition] or partition in self.gaps:
                count, gap = own.records if own else 0, self.gaps.take(partition)
                spans[partition] = Span(self._start[partition], Position(end), count, gap)
                self.next[partition], self._start[partition] = end, Position(end)
        return Records(frame, spans, KAFKA) if spans else None
