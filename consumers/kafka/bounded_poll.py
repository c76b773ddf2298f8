"""Polls that are bounded in bytes: the client only counts messages."""

from confluent_kafka import Consumer, Message

from core.batch import Records
from core.clock import Clock

MOST_BYTES = 4 * 1024 * 1024  # a poll for more would go on for long
_FIRST = 16  # messages of the first poll, while nothing is known of their size
_CALL_S = 0.05  # in one call of the client; records may be larger from one moment to the next


class BoundedPoll:
    """Takes messages from `consumer`: `chunk` or about `nbytes` at most, one at least."""

    def __init__(self, consumer: Consumer, chunk: int, nbytes: int, clock: Clock) -> None:
        self._consumer = consumer
        self._chunk = chunk
        self._nbytes = min(nbytes, MOST_BYTES)
        self._clock = clock
        self._wanted = min(_FIRST, chunk)

    def take(self, timeout: float) -> list[Message]:
        """Return the messages that come within `timeout` seconds, or as many as one poll may have.

        The client refills its queue during a call, which therefore ends soon.
        """
        found: list[Message] = []
        end, nbytes = self._clock.monotonic() + timeout, 0
        while True:
            left = end - self._clock.monotonic()
            wanted = self._wanted - len(found)
            part = self._consumer.consume(wanted, max(0.0, min(left, _CALL_S)))
            found += part
            nbytes += sum(map(len, part))
            if len(part) == wanted or left <= _CALL_S or nbytes >= self._nbytes:
                return found

    def learn(self, records: Records) -> None:
        """Take as many messages from now on as records like these make up the bytes of a poll."""
        if height := records.frame.height:
            self._wanted = min(max(self._nbytes * height // records.nbytes, 1), self._chunk)
