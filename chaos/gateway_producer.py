"""A producer behind the gateway: it knows of each record what the gateway said of it."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

from chaos.content import Content
from chaos.producer import SentRecords

FIRST_NUMBER = 2 * 10**9
ACKNOWLEDGED, UNKNOWN, REFUSED = "acknowledged", "unknown", "refused"
_THREADS = 2
_BATCH = 20
_PAUSE_S = 0.02
# Sends records by number, once; returns for each whether it is stored, None when nobody knows.
Send = Callable[[Sequence[tuple[int, bytes]]], Sequence[bool | None]]


class GatewayProducer:
    """Sends small batches on some threads, none of them twice.

    What the gateway calls stored must be there, and what it calls not stored must not.
    """

    def __init__(self, send: Send, content: Content) -> None:
        self.counts: Counter[str] = Counter()
        self._send, self._content = send, content
        self._numbers = count(FIRST_NUMBER, _BATCH)
        self._acknowledged: set[int] = set()
        self._unknown: set[int] = set()
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(_THREADS, "gateway")
        self._running: list[Future[None]] = []

    def start(self) -> None:
        """Start the threads."""
        self._running = [self._threads.submit(self._run) for _ in range(_THREADS)]

    def finish(self) -> SentRecords:
        """Stop, and wait for the responses under way."""
        self._stop.set()
        for running in self._running:
            running.result()
        self.counts[ACKNOWLEDGED], self.counts[UNKNOWN] = map(
            len, (self._acknowledged, self._unknown)
        )
        return SentRecords(frozenset(self._acknowledged), frozenset(self._unknown))

    def close(self) -> None:
        """Stop; waits for the responses under way."""
        self._stop.set()
        self._threads.shutdown()

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_S):
            first = next(self._numbers)
            values = [(n, self._content.payload(n)) for n in range(first, first + _BATCH)]
            records = [(n, value) for n, value in values if value is not None]
            for (number, _), stored in zip(records, self._send(records), strict=True):
                self._note(number, stored=stored)

    def _note(self, number: int, *, stored: bool | None) -> None:
        if stored:
            self._acknowledged.add(number)
        elif stored is None:
            self._unknown.add(number)
        else:
            self.counts[REFUSED] += 1
