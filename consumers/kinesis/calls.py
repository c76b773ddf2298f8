"""GetRecords of several shards at the same time, a few at once: answers are large."""

from collections.abc import Collection, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from botocore.config import Config

from consumers.kinesis.shard import Cursor, Response, get_records
from core.clock import Clock

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

# The source retries each shard itself; a hanging call must not outlast a SIGTERM.
CLIENT_CONFIG = Config(
    retries={"total_max_attempts": 1},
    connect_timeout=3,
    read_timeout=5,
    max_pool_connections=16,
)
SPACING = 0.2
SHARD_BYTES = 2_000_000  # that a shard gives in a second, to all its readers together
IDLE_SPACING = 0.5
ANSWER_BYTES = 10 * 1024 * 1024
MAX_CALLS = 8


class Calls:
    """The calls on their way: one per cursor, and no more at once than `memory` bytes allow.

    An answer holds up to 10 MiB, twice that while it is parsed. Results are handed over by
    `finished` only; only one thread may use this. So many `readers` share what a shard gives.
    """

    def __init__(
        self, client: "KinesisClient", stream: str, clock: Clock, memory: int, readers: int
    ) -> None:
        self._client = client
        self._stream = stream
        self._clock = clock
        self._readers = readers
        self._most = max(1, min(MAX_CALLS, memory // (2 * ANSWER_BYTES)))
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="kinesis")
        self._asked: dict[Future[Response], Cursor] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, cursors: Iterable[Cursor]) -> None:
        """Call for those cursors that are due; SPACING seconds lie between two calls of a shard."""
        now = self._clock.monotonic()
        due = [cursor for cursor in self._idle(cursors) if cursor.due <= now]
        for cursor in due[: self._most - len(self._asked)]:
            cursor.due = now + self._readers * SPACING
            call = (self._client, self._stream, cursor, self._clock.now())
            self._asked[self._pool.submit(get_records, *call)] = cursor

    def finished(
        self, cursors: Iterable[Cursor], deadline: float
    ) -> Collection[tuple[Cursor, Future[Response]]]:
        """Wait until a call is over, one is due or `deadline`; return the calls that are over."""
        free = len(self._asked) < self._most
        dues = [cursor.due for cursor in self._idle(cursors)] if free else []
        pause = max(0.0, min([deadline, *dues]) - self._clock.monotonic())
        if not self._asked:
            self._clock.sleep(pause)
            return ()
        over = wait(self._asked, pause, FIRST_COMPLETED).done
        found = [(self._asked.pop(future), future) for future in over]
        for cursor, future in found:
            self._space(cursor, future)
        return found

    def _space(self, cursor: Cursor, call: Future[Response]) -> None:
        """Put the next call off until the shard may give again: it refuses calls before."""
        if call.exception() is None:
            asked = cursor.due - self._readers * SPACING
            seconds = self._readers * call.result().nbytes / SHARD_BYTES
            cursor.due = max(cursor.due, asked + seconds)

    def close(self) -> None:
        """Wait for the calls on their way."""
        self._pool.shutdown(cancel_futures=True)

    def _idle(self, cursors: Iterable[Cursor]) -> list[Cursor]:
        """Those without a call on its way, the one due first at the head."""
        busy = {id(cursor) for cursor in self._asked.values()}
        return sorted((c for c in cursors if id(c) not in busy), key=lambda cursor: cursor.due)
