"""When the shards of a stream are listed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from consumers.kinesis import faults
from consumers.kinesis.shards import Shard, listed_at
from core.clock import Clock
from core.retry import Outage

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

INTERVAL = 30.0  # seconds


class Listing:
    """Lists the shards of `stream`; `due` is when to list again, by the monotonic clock.

    `began`: when it was listed for the first time, by the clock of Kinesis if that tells it.
    `outage` hears of transient faults, `where` is the stream for people.
    """

    def __init__(
        self, client: "KinesisClient", stream: str, clock: Clock, outage: Outage, where: str
    ) -> None:
        self._client, self._stream, self._clock = client, stream, clock
        self._outage, self._where = outage, where
        self._backoff = faults.backoff()
        self._has_answered = False
        self.due = 0.0
        self.began = clock.now()

    def now(self) -> Mapping[str, Shard] | None:
        """List the shards; None when Kinesis cannot list them now, which only the first call may.

        Raises SourceError for what waiting does not repair, and when nobody responds to the first.
        """
        asked = self._clock.monotonic()
        try:
            listed, at = listed_at(self._client, self._stream)
        except (BotoCoreError, ClientError) as error:
            unreachable = faults.is_network(error) and not self._has_answered
            if unreachable or not faults.is_passing(error):
                raise faults.explain(error, self._where) from error
            faults.note(self._outage, error, self._where)
            self.due = self._clock.monotonic() + self._backoff.wait()
            return None
        if at and not self._has_answered:
            self.began = at  # our clock may be off
        self._has_answered = True
        self._backoff.reset()
        self._outage.over(self._where)
        self.due = asked + INTERVAL
        return listed
