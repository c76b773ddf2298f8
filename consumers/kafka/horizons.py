"""Where the partitions that are read end, by requests beside the reading.

librdkafka's statistics name the ends too, but not the time of the response that told them: beside a
full queue, in a pause, or from a follower, an end is older than the broker's last response. A
leader answers ListOffsets after the request was sent, so its answer has a date that is true.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

from confluent_kafka import IsolationLevel
from confluent_kafka.admin import AdminClient

from consumers.kafka.offsets import FIRST, LAST, Answers, InTurn, Question
from core.batch import Partition, Position
from core.clock import Clock
from core.observer import NEVER, Horizon

INTERVAL_S = 1.0  # between two requests
LONGEST_INTERVAL_S = 5.0  # the same of many partitions: health counts on it
FIRSTS_INTERVAL_S = 10.0  # the same for first offsets: only retention moves them
PARTITIONS_A_SECOND = 125  # beyond it requests are rarer: 500 partitions take 1 % of a core
QUICK_S = 0.01  # most leaders have answered by then: the next request need not wait for a turn
TIMEOUT_S = 5.0  # for a leader's answer; the next request waits for it
_ALL, _STABLE = IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED
T = TypeVar("T")


@dataclass(frozen=True)
class Proof:
    """All that arrived until `until` lies before the partition's last stable offset.

    NEVER: a transaction was open before the partition was looked at.

    `high` was the high watermark at `sent`: all that arrived until then is proven once the last
    stable offset has passed it, which an open transaction puts off.
    """

    until: datetime = NEVER
    high: int = 0
    sent: datetime | None = None

    def after(self, sent: datetime, high: int, stable: int) -> "Proof":
        """Return what both offsets prove, told by requests that were sent at `sent`."""
        if stable >= high:
            return Proof(sent)
        if self.sent is None:
            return Proof(self.until, high, sent)
        return Proof(self.sent, high, sent) if stable >= self.high else self


class _Round(NamedTuple):
    """Requests for high watermarks, last stable and first offsets.

    `sent`: when the first one was sent; `reading`: the offsets that were read next then.
    """

    sent: datetime
    reading: Mapping[Partition, int]
    requests: InTurn


class Horizons:
    """The ends of the partitions of one reader; `clock` dates them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due = self._firsts_due = clock.monotonic()
        self._round: _Round | None = None
        self._firsts: dict[Partition, int] = {}
        self._proofs: dict[Partition, Proof] = {}

    def ask(self, admin: AdminClient, reading: Mapping[Partition, int]) -> None:
        """Request the ends of these partitions if it is time to; wait for nothing.

        `reading`: the offset that is read next in each. No request is sent while the answers to the
        last one were not taken.
        """
        now = self._clock.monotonic()
        if self._round is not None or not reading or now < self._due:
            return
        interval = max(INTERVAL_S, len(reading) / PARTITIONS_A_SECOND)
        self._due = now + min(interval, LONGEST_INTERVAL_S)
        unknown = [p for p in reading if p not in self._firsts]
        if now >= self._firsts_due:
            self._firsts_due, unknown = now + FIRSTS_INTERVAL_S, list(reading)
        questions = [
            Question(list(reading), LAST, _ALL),  # first: producers go on meanwhile
            Question(list(reading), LAST, _STABLE),
            Question(unknown, FIRST, _STABLE),
        ]
        sent = self._clock.now()
        self._round = _Round(sent, dict(reading), InTurn(admin, questions, TIMEOUT_S))
        self._round.requests.is_answered(QUICK_S)

    def close(self) -> None:
        """Take no answer any more: a request holds its client."""
        self._round = None

    def taken(self) -> dict[Partition, Horizon]:
        """Return what the last request told, once; without what no leader told."""
        asked = self._round
        if asked is None or not asked.requests.is_answered():
            return {}
        self._round = None
        highs, stables, firsts = map(_told, asked.requests.answers)
        self._firsts = _kept(self._firsts, asked.reading) | firsts
        self._proofs = _kept(self._proofs, asked.reading)
        for p in highs.keys() & stables.keys():
            self._proofs[p] = self._proofs.get(p, Proof()).after(asked.sent, highs[p], stables[p])
        return {
            p: Horizon(Position(stable), self._proofs.get(p, Proof()).until, self._firsts[p])
            for p, stable in stables.items()
            # A topic that ends before what was read of it is another one: the reader will say so.
            if p in self._firsts and stable >= asked.reading[p]
        }


def _kept(found: Mapping[Partition, T], reading: Mapping[Partition, int]) -> dict[Partition, T]:
    return {partition: own for partition, own in found.items() if partition in reading}


def _told(answers: Answers) -> dict[Partition, int]:
    """Return the offsets that a leader told."""
    found = {p: int(a.result().offset) for p, a in answers.items() if a.exception() is None}
    return {partition: offset for partition, offset in found.items() if offset >= 0}
