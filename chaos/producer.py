"""Two producers that know which records the broker acknowledged: idempotent and transactional.

A record's key is its number. Transactions have a separate range of numbers. Records of aborted
transactions have negative numbers: none of them may reach a table.
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

FIRST_TRANSACTIONAL_NUMBER = 10**9
FLUSH_TIMEOUT_S = 300.0
_POLL_S = 0.02
_TRANSACTION_RECORDS = 40
_TRANSACTION_INTERVAL_S = 0.7
_MAX_ATTEMPTS = 60
_SETTINGS: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 20,
    "compression.type": "lz4",
    "message.timeout.ms": int(FLUSH_TIMEOUT_S * 1000),
}
_QUIET = logging.Logger("chaos", logging.CRITICAL + 1)  # noqa: LOG001  # librdkafka reports every outage


@dataclass(frozen=True)
class SentRecords:
    """The numbers that were sent; the broker may or may not have stored `unknown` ones."""

    acknowledged: frozenset[int]
    unknown: frozenset[int]


class SteadyProducer:
    """Sends `rate` records per second for `seconds` on a thread."""

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
        """Start the thread."""
        self._running = self._thread.submit(self._run)

    def finish(self) -> SentRecords:
        """Wait until every record is sent and acknowledged or failed."""
        if self._running is not None:
            self._running.result()
        if self._producer.flush(FLUSH_TIMEOUT_S):
            raise FatalError("the broker did not acknowledge every record", "see the broker's log")
        given = frozenset(range(self.produced))
        return SentRecords(given - self._unknown, frozenset(self._unknown))

    def close(self) -> None:
        """Stop the thread at once."""
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
            self._producer.poll(_POLL_S)

    def _send(self, number: int) -> None:
        key, value = str(number).encode(), self._content.payload(number)
        while not self._abandoned.is_set():
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._unknown.add(int(message.key() or b""))


class TransactionalProducer:
    """Sends small transactions on a thread, and aborts every second one."""

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
        """Start the thread."""
        self._running = self._thread.submit(self._run)

    def finish(self) -> SentRecords:
        """Stop without an open transaction: it would block the consumers."""
        self._stop.set()
        if self._running is not None:
            self._running.result()
        return SentRecords(frozenset(self._acknowledged), frozenset(self._unknown))

    def close(self) -> None:
        """Stop the thread at once."""
        self._stop.set()
        self._abandoned.set()
        self._thread.shutdown()

    def _run(self) -> None:
        for turn in count():
            if self._stop.wait(_TRANSACTION_INTERVAL_S):
                return
            self._transact(turn, commit=turn % 2 == 0)

    def _transact(self, turn: int, *, commit: bool) -> None:
        numbers = [
            FIRST_TRANSACTIONAL_NUMBER + turn * _TRANSACTION_RECORDS + n
            for n in range(_TRANSACTION_RECORDS)
        ]
        try:
            self._producer.begin_transaction()
            for number in numbers:
                value = self._content.payload(number)
                self._producer.produce(self._topic, value, str(number if commit else -number))
            self._producer.flush(10)
            self._end(commit=commit)
        except KafkaException:
            self._unknown |= set(numbers) if commit else set()
            self._producer = self._opened()
            return
        self._acknowledged |= set(numbers) if commit else set()
        self.aborted += 0 if commit else _TRANSACTION_RECORDS

    def _end(self, *, commit: bool) -> None:
        """Commit or abort; transient faults are retried."""
        for _ in range(_MAX_ATTEMPTS):
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
        """Return a producer of the same id: the broker aborts its open transaction."""
        for _ in range(_MAX_ATTEMPTS):
            producer = Producer(self._properties, logger=_QUIET)
            try:
                producer.init_transactions(5)
            except KafkaException:
                if self._abandoned.wait(0.2):
                    break
            else:
                return producer
        raise FatalError(
            "the broker does not accept the transactional producer", "see the broker's log"
        )
