"""Which life of a stream is read: the time of its creation is its identity.

Protocol: Kinesis Data Streams API, DescribeStreamSummary: `StreamCreationTimestamp`. AWS allows 20
such calls a second and account, so that an answer is good for some seconds. A stream that was
deleted and created again has the same shard ids, and emulators number its records from 1 again.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from consumers import kinesis_faults as faults
from pinpip.batch import KINESIS, Partition
from pinpip.clock import Clock
from pinpip.epochs import again, kind_of, recreated, told
from pinpip.errors import TopicRecreated

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

FRESH = 1.0  # seconds for which an answer confirms iterators that were made after it
CONFIRMED = 5.0  # the same while one iterator follows the other
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_log = structlog.get_logger(__name__)


def milliseconds(moment: datetime) -> int:
    """The aware `moment` as milliseconds since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


def created(client: "KinesisClient", stream: str) -> int:
    """When the stream was created, in milliseconds; botocore's errors pass through."""
    told = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    return milliseconds(told["StreamCreationTimestamp"])


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
    """The life of `stream` that is read; `epoch` is None until Kinesis has told it."""

    def __init__(self, client: "KinesisClient", stream: str, clock: Clock) -> None:
        self._client = client
        self._stream = stream
        self._clock = clock
        self._asked_at = float("-inf")
        self._confirmed = False
        self.epoch: int | None = None
        self.tells = True

    def confirmed(self, age: float) -> bool:
        """Whether the stream is still the one that is read, by an answer of the last `age` s.

        Raises TopicRecreated when it is another one.
        """
        now = self._clock.monotonic()
        if self.tells and now - self._asked_at >= age:
            self._asked_at = now
            self._confirmed = self._ask()
        return self._confirmed

    def _ask(self) -> bool:
        try:
            found = created(self._client, self._stream)
        except (BotoCoreError, ClientError) as error:
            self._note(error)
            return False
        if self.epoch is not None and found != self.epoch:
            raise recreated(self._stream, self.epoch, found, KINESIS)
        self.epoch = found
        return True

    def _note(self, error: Exception) -> None:
        """A stream that is gone is told by the calls that read it."""
        passing = faults.is_passing(error) or faults.code(error) == faults.NOT_FOUND
        self.tells = passing
        if not passing:
            _log.warning(
                "stream_identity_unknown",
                stream=self._stream,
                error=str(error),
                next="allow kinesis:DescribeStreamSummary on the stream",
            )
