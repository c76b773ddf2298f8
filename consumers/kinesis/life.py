"""Which life of a stream is read: the time of its creation is its identity.

Protocol: Kinesis Data Streams API, DescribeStreamSummary: `StreamCreationTimestamp`. AWS allows 20
such calls a second and account, so that an answer is good for some seconds. A stream that was
deleted and created again has the same shard ids, and emulators number its records from 1 again.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from consumers.kinesis import faults
from consumers.kinesis.shard import Cursor
from core.batch import KINESIS, Partition, Positions
from core.clock import Clock
from core.errors import TopicRecreated
from core.topic_id import Known, again, kind_of, recreated, refuse_another, told

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import StreamDescriptionSummaryTypeDef

FRESH = 1.0  # seconds for which an answer confirms iterators that were made after it
CONFIRMED = 5.0  # the same while one iterator follows the other
SHORTEST = timedelta(hours=24)  # that a stream can keep records
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_log = structlog.get_logger(__name__)


def milliseconds(moment: datetime) -> int:
    """Return the aware `moment` in milliseconds since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def created(client: "KinesisClient", stream: str) -> int:
    """When the stream was created, in milliseconds; botocore's errors pass through."""
    return milliseconds(_summary(client, stream)["StreamCreationTimestamp"])


def _summary(client: "KinesisClient", stream: str) -> "StreamDescriptionSummaryTypeDef":
    return client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]


def refuse_younger(partition: Partition, arrived: datetime, epoch: int) -> None:
    """Raise TopicRecreated when a row arrived before the stream was created that is there now."""
    if milliseconds(arrived) < epoch:
        kind = kind_of(KINESIS)
        raise TopicRecreated(
            f"{kind} {partition.source} was deleted and created again: the newest row of"
            f" {partition} in the table arrived at {arrived.isoformat(timespec='milliseconds')},"
            f" the stream there now was {told(epoch, KINESIS)}",
            again(kind),
        )


class StreamLife:
    """The life of `stream` that is read; `epoch` is None until Kinesis has told it.

    `retention`: for how long it keeps records; as short as can be until Kinesis has told it.
    """

    def __init__(self, client: "KinesisClient", stream: str, clock: Clock) -> None:
        self._client = client
        self._stream = stream
        self._clock = clock
        self._asked_at = float("-inf")
        self._confirmed = False
        self._adopted: set[Partition] = set()
        self._tells = True
        self.epoch: int | None = None
        self.retention = SHORTEST

    def confirmed(self, age: float) -> bool:
        """Whether the stream is still the one that is read, by an answer of the last `age` s.

        Raises TopicRecreated when it is another one.
        """
        now = self._clock.monotonic()
        if self._tells and now - self._asked_at >= age:
            self._asked_at = now
            self._confirmed = self._ask()
        return self._confirmed

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """Check the stream against what sinks know; TopicRecreated when it is not theirs.

        Where no sink knows when the stream was created, it must be older than their rows.
        """
        self.refuse_another({p: own.furthest for p, own in known.items()})
        for partition, own in known.items():
            if own.arrived is not None and self.epoch is not None:
                refuse_younger(partition, own.arrived, self.epoch)
                self._adopted.add(partition)

    def refuse_another(self, positions: Positions) -> None:
        """Raise TopicRecreated when a position counts in another life of the stream."""
        self.confirmed(FRESH)
        for partition, position in positions.items():
            refuse_another(partition, position, self.epoch, KINESIS)

    def proves(self, cursor: Cursor) -> bool:
        """Whether the cursor's iterator belongs to the life that is read.

        While Kinesis does not tell now, the cursor is put back to its position.
        """
        confirmed = self.confirmed(CONFIRMED if cursor.proven else FRESH)
        cursor.proven |= confirmed or not self._tells or self.epoch is None
        if not cursor.proven:
            cursor.iterator, cursor.due = None, self._clock.monotonic() + FRESH
        return cursor.proven

    def epoch_after(self, cursor: Cursor) -> int | None:
        """Return the epoch of what the cursor reads next; None while its position's is unknown."""
        before = cursor.position
        partition = Partition(self._stream, cursor.shard.id)
        known = before is None or before.epoch is not None or partition in self._adopted
        return self.epoch if known else None

    def _ask(self) -> bool:
        try:
            summary = _summary(self._client, self._stream)
        except (BotoCoreError, ClientError) as error:
            self._note(error)
            return False
        found = milliseconds(summary["StreamCreationTimestamp"])
        self.retention = timedelta(hours=summary.get("RetentionPeriodHours", 0)) or SHORTEST
        if self.epoch is not None and found != self.epoch:
            raise recreated(self._stream, self.epoch, found, KINESIS)
        self.epoch = found
        return True

    def _note(self, error: Exception) -> None:
        """Leave a stream that is gone to the calls that read it."""
        passing = faults.is_passing(error) or faults.code(error) == faults.NOT_FOUND
        self._tells = passing
        if not passing:
            _log.warning(
                "stream_identity_unknown",
                stream=self._stream,
                error=str(error),
                next="allow kinesis:DescribeStreamSummary on the stream",
            )
