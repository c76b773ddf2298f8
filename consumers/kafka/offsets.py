"""Where many partitions begin and end: one request to each broker.

A consumer's own question about ends waits behind its fetches, half a second for each partition.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, NamedTuple

from confluent_kafka import IsolationLevel, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from consumers.kafka.client import REFUSED, REQUEST_TIMEOUT_S, failure, topic_partition
from consumers.kafka.topic_identity import Asked
from core.batch import Partition, Position, Positions
from core.clock import Clock
from core.errors import RecordsExpired, TopicRecreated, TransientError

FIRST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LAST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_PAUSE_S = 0.1  # seconds between two requests for what no broker could tell
Ends = tuple[int, int]  # the first offset, and the next one to be written
Answers = Mapping[Partition, "Future[Any]"]


class Question(NamedTuple):
    """One ListOffsets request: of which partitions, which end, and as of which isolation."""

    partitions: Collection[Partition]
    spec: OffsetSpec
    level: IsolationLevel


class InTurn:
    """ListOffsets requests through one client, each sent once the one before is answered.

    The first one makes the client learn the leaders, and must be alone: librdkafka 2.16 crashes the
    process when topic metadata arrives while a request looks for leaders that it does not know
    (rdkafka_partition.c, rd_kafka_topic_partition_list_query_leaders_async). So `after`, requests
    for metadata that are under way, is awaited, too. The leaders have `timeout` seconds each time.
    """

    def __init__(
        self,
        admin: AdminClient,
        questions: Sequence[Question],
        timeout: float,
        after: Collection["Future[Any]"] = (),
    ) -> None:
        self._admin, self._timeout = admin, timeout
        self._left = list(questions)
        self._open = after
        self.answers: list[Answers] = []
        self.is_answered()

    def is_answered(self, timeout: float | None = 0.0) -> bool:
        """Send what is due; return whether all is answered, each within `timeout` seconds."""
        while not wait(self._open, timeout).not_done:
            if not self._left:
                return True
            asked = _requested(self._admin, self._left.pop(0), self._timeout)
            self._open = asked.values()
            self.answers.append(asked)
        return False


def _requested(admin: AdminClient, question: Question, timeout: float) -> Answers:
    if not question.partitions:
        return {}
    wanted = {topic_partition(p): question.spec for p in question.partitions}
    found = admin.list_offsets(wanted, isolation_level=question.level, request_timeout=timeout)
    return {Partition(own.topic, str(own.partition)): answer for own, answer in found.items()}


class Offsets:
    """The ends of `partitions`, requested but not awaited; `after` as in `InTurn`.

    The upper end is the last stable offset; with `everything` the high watermark, which lies beyond
    open transactions. Source: Kafka protocol guide, ListOffsets.
    """

    def __init__(
        self,
        admin: AdminClient,
        partitions: Collection[Partition],
        after: Collection["Future[Any]"] = (),
        *,
        everything: bool = False,
    ) -> None:
        level = IsolationLevel.READ_UNCOMMITTED if everything else IsolationLevel.READ_COMMITTED
        self.partitions = frozenset(partitions)
        questions = [Question(self.partitions, spec, level) for spec in (FIRST, LAST)]
        self._requests = InTurn(admin, questions, REQUEST_TIMEOUT_S, after)
        self.complaint = ""

    def is_answered(self, timeout: float) -> bool:
        """As `InTurn.is_answered`."""
        return self._requests.is_answered(timeout)

    def answers(self) -> dict[Partition, Ends]:
        """Wait for all answers; return the ends of the partitions that a broker told.

        `complaint` says why one is left out. Raises SourceError when a broker refuses to tell.
        """
        self._requests.is_answered(None)
        lows, highs = self._requests.answers
        found = {p: (self._offset(lows[p]), self._offset(highs[p])) for p in lows}
        return {p: (low, high) for p, (low, high) in found.items() if low >= 0 and high >= 0}

    def _offset(self, answer: "Future[Any]") -> int:
        """Return the offset, -1 when no broker can tell it now."""
        try:
            return int(answer.result().offset)
        except KafkaException as error:
            cause = error.args[0]
            if cause.fatal() or cause.code() in REFUSED:
                raise failure(cause) from error
            self.complaint = cause.str()
            return -1


class PlacementRequest:
    """What must be known of partitions before they are read: their topics' `ids`, their ends."""

    def __init__(self, admin: AdminClient, partitions: Collection[Partition], ids: Asked) -> None:
        self.ids = ids
        self.offsets = Offsets(admin, partitions, after=ids.values())

    def is_answered(self, timeout: float) -> bool:
        """As `InTurn.is_answered`."""
        return self.offsets.is_answered(timeout)

    @property
    def complaint(self) -> str:
        """Why a partition cannot be read yet."""
        return self.offsets.complaint or f"the id of topic {', '.join(self.ids)} cannot be read"


def ends_now(
    admin: AdminClient,
    partitions: Collection[Partition],
    clock: Clock,
    *,
    everything: bool = False,
) -> dict[Partition, Ends]:
    """Return the ends of all `partitions`; ask again for some time where no broker can tell.

    Raises TransientError when some stay unknown, SourceError when a broker refuses to tell.
    """
    found: dict[Partition, Ends] = {}
    until = clock.monotonic() + REQUEST_TIMEOUT_S
    while missing := set(partitions) - set(found):
        asked = Offsets(admin, missing, everything=everything)
        found |= asked.answers()
        if asked.complaint and clock.monotonic() >= until:
            raise TransientError(
                f"the ends of {min(missing)} cannot be read: {asked.complaint}",
                "see that the broker runs and the topic exists",
            )
        if asked.complaint:
            clock.sleep(_PAUSE_S)
    return found


def outside(
    partition: Partition, position: int, low: int, high: int, wanting: Sequence[str] = ()
) -> Exception | None:
    """Why nothing can be read at `position` of a partition that holds [low, high); None if it can.

    A gap is never passed over in silence. `wanting`: the sinks that hold nothing, beside others.
    """
    if position < low:
        return RecordsExpired(
            f"{partition} now starts at offset {low}, but offset {position} is still wanted"
            f"{' by ' if wanting else ''}{' and '.join(wanting)}:"
            f" {low - position} offsets are gone from the topic",
            "lengthen the topic's retention; to go on without them, which is written into the table"
            " and shown by verify for ever, start once with: pinpip consume PIPELINE --accept-gap",
        )
    if position > high:
        return TopicRecreated(
            f"{partition} ends at offset {high}, but the table is at {position}:"
            " the topic was re-created or truncated",
            "to read it afresh into the same table set a new `incarnation` in config.yaml and start"
            " once with: pinpip consume PIPELINE --new-incarnation",
        )
    return None


def misplaced(
    positions: Positions, watermarks: Mapping[Partition, tuple[Position, Position]]
) -> list[tuple[Partition, str, str]]:
    """Positions that the source cannot have: (partition, kind of finding, what is wrong).

    A table may be behind or at the end; never beyond it, nor before the first offset: then
    records expired unread. Kafka takes no partition away from a topic.
    """
    found = []
    topics = {p.source for p in watermarks}
    for partition, position in positions.items():
        if partition in watermarks and position is not None:
            low, high = watermarks[partition]
            error = outside(partition, position.number, low.number, high.number)
            if error is not None:
                kind = "expired" if isinstance(error, RecordsExpired) else "position"
                found.append((partition, kind, str(error).partition("\n")[0]))
        elif partition not in watermarks and partition.source in topics:
            gone = f"topic {partition.source} has no partition {partition.id}: it was re-created"
            found.append((partition, "position", gone))
    return found
