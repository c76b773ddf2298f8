"""A steady producer that knows what it was told is stored: one idempotent, one transactional.

A record's key is its number. Transactions have numbers of their own range, and what an aborted one
held has negative ones: none of them may ever arrive.
"""

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from chaos.content import Content
from core.clock import Clock
from core.errors import FatalError

TRANSACTIONAL = 10**9  # the first number of the transactional producer
FLUSH_WITHIN = 300.0
_TICK = 0.02
_BLOCK = 40
_PAUSE = 0.7
_TRIES = 60
_SETTINGS: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 20,
    "compression.type": "lz4",
    "message.timeout.ms": int(FLUSH_WITHIN * 1000),
}
_QUIET = logging.Logger("chaos", logging.CRITICAL + 1)  # noqa: LOG001  # outages are no news here


@dataclass(frozen=True)
class SentRecords:
    """What is known of the numbers given out: `unknown` ones may be stored or not."""

    acknowledged: frozenset[int]
    unknown: frozenset[int]


class Steady:
    """Sends `rate` records a second for `seconds` from a thread of its own."""

    def __init__(
        self,
        properties: Mapping[str, Any],
        topic: str,
        content: Content,
        rate: int,
        seconds: float,
        clock: Clock,
    ) -> None:
        self.produced = 0
        self._topic, self._content, self._clock = topic, content, clock
        self._rate, self._seconds = rate, seconds
        self._unknown: set[int] = set()
        self._producer = Producer({**_SETTINGS, **properties}, logger=_QUIET)
        self._abandoned = threading.Event()
        self._thread = ThreadPoolExecutor(1, "steady")
        self._running: Future[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._running = self._thread.submit(self._run)

    def finish(self) -> SentRecords:
        """Wait until all is sent, and for the broker's word on every record."""
        if self._running is not None:
            self._running.result()
        if self._producer.flush(FLUSH_WITHIN):
            raise FatalError("the broker did not answer the producer", "see the broker's log")
        given = frozenset(range(self.produced))
        return SentRecords(given - self._unknown, frozenset(self._unknown))

    def close(self) -> None:
        """Stop, whatever is under way."""
        self._abandoned.set()
        self._thread.shutdown()

    def _run(self) -> None:
        began = self._clock.monotonic()
        total = int(self._seconds * self._rate)
        while self.produced < total and not self._abandoned.is_set():
            due = min(int((self._clock.monotonic() - began) * self._rate), total) - self.produced
            for _ in range(min(due, self._rate)):
                self._send(self.produced)
                self.produced += 1
            self._producer.poll(_TICK)

    def _send(self, number: int) -> None:
        key, value = str(number).encode(), self._content.payload(number)
        while not self._abandoned.is_set():
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._told)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _told(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._unknown.add(int(message.key() or b""))


class Transactional:
    """Small transactions, every second one aborted, from a thread of its own."""

    def __init__(self, properties: Mapping[str, Any], topic: str, content: Content) -> None:
        self.aborted = 0
        self._properties = {
            **_SETTINGS,
            **properties,
            "transactional.id": f"{topic}-transactions",
            "transaction.timeout.ms": 10_000,
            "message.timeout.ms": 10_000,
        }
        self._topic, self._content = topic, content
        self._acknowledged: set[int] = set()
        self._unknown: set[int] = set()
        self._stop, self._abandoned = threading.Event(), threading.Event()
        self._producer = self._opened()
        self._thread = ThreadPoolExecutor(1, "transactional")
        self._running: Future[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._running = self._thread.submit(self._run)

    def finish(self) -> SentRecords:
        """Stop; nothing is left open, for that would hold the readers up."""
        self._stop.set()
        if self._running is not None:
            self._running.result()
        return SentRecords(frozenset(self._acknowledged), frozenset(self._unknown))

    def close(self) -> None:
        """Stop, whatever is under way."""
        self._stop.set()
        self._abandoned.set()
        self._thread.shutdown()

    def _run(self) -> None:
        for turn in count():
            if self._stop.wait(_PAUSE):
                return
            self._transact(turn, commit=turn % 2 == 0)

    def _transact(self, turn: int, *, commit: bool) -> None:
        numbers = [TRANSACTIONAL + turn * _BLOCK + n for n in range(_BLOCK)]
        try:
            self._producer.begin_transaction()
            for number in numbers:
                value = self._content.payload(number)
                self._producer.produce(self._topic, value, str(number if commit else -number))
            self._producer.flush(10)
            self._finished(commit=commit)
        except KafkaException:
            self._unknown |= set(numbers) if commit else set()
            self._producer = self._opened()
            return
        self._acknowledged |= set(numbers) if commit else set()
        self.aborted += 0 if commit else _BLOCK

    def _finished(self, *, commit: bool) -> None:
        """Await the transaction's end; transient faults are retried."""
        for _ in range(_TRIES):
            try:
                if commit:
                    self._producer.commit_transaction(5)
                else:
                    self._producer.abort_transaction(5)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
                if self._abandoned.wait(0.1):
                    break
            else:
                return
        raise FatalError("a transaction does not end", "see the broker's log")

    def _opened(self) -> Producer:
        """Make a producer of the same id: the broker aborts what the last one left open."""
        for _ in range(_TRIES):
            producer = Producer(self._properties, logger=_QUIET)
            try:
                producer.init_transactions(5)
            except KafkaException:
                if self._abandoned.wait(0.2):
                    break
            else:
                return producer
        raise FatalError("the transactional producer is not let in", "see the broker's log")
