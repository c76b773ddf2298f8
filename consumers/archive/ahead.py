"""Objects read ahead, so that a store that is far away is not waited for once an object."""

import random
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from threading import Event

from consumers.archive.pieces import Piece
from core.clock import Clock
from core.errors import SourceError
from core.retry import Outage, retry
from core.threads import ContextPool

READERS = 16  # as many as the client of S3 has connections
FIRST = 2  # before the size of any object is known
PATIENCE_S = 120.0  # for a store that fails

Fetch = Callable[[str], bytes | None]  # the body of a key; None: there is no such object


class Ahead:
    """The bodies of pieces in order, `memory` bytes of them ahead, if they are of one size.

    Raises SourceError for an object that is gone, FatalError for a store that fails for long.
    """

    def __init__(self, fetch: Fetch, place: str, memory: int, clock: Clock) -> None:
        self._fetch, self._place, self._memory = fetch, place, memory
        self._clock, self._outage = clock, Outage(place, clock)
        self._pool = ContextPool(READERS, "archive")
        self._queue: deque[Piece] = deque()
        self._asked: deque[tuple[Piece, Future[bytes]]] = deque()
        self._largest = 0
        self._closed = Event()

    def plan(self, pieces: Iterable[Piece]) -> None:
        """Read these instead of what was planned before."""
        for _, asked in self._asked:
            asked.cancel()
        self._asked.clear()
        self._queue = deque(pieces)

    def next(self, timeout: float) -> tuple[Piece, bytes] | None:
        """Return the next piece and its body; None: it has not come yet, or none is left."""
        self._ask()
        if not self._asked:
            return None
        piece, asked = self._asked[0]
        wait([asked], timeout)
        if not asked.done():
            self._outage.look()
            return None
        self._asked.popleft()
        body = asked.result()
        self._largest = max(self._largest, len(body))
        self._ask()
        return piece, body

    def close(self) -> None:
        """Wait for nothing."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> None:
        most = min(READERS, self._memory // self._largest) if self._largest else FIRST
        while self._queue and len(self._asked) < max(most, 1):
            piece = self._queue.popleft()
            self._asked.append((piece, self._pool.submit(self._body, piece)))

    def _body(self, piece: Piece) -> bytes:
        def budget() -> float:
            return 0.0 if self._closed.is_set() else PATIENCE_S

        def read() -> bytes | None:
            return self._fetch(piece.key)

        rng = random.Random()
        body = retry(read, self._clock, rng, budget, self._outage, piece.key)
        if body is None:
            raise SourceError(
                f"{self._place}/{piece.key} is gone since it was listed",
                "restore it from a backup and run the same command again: it goes on where it was",
            )
        return body
