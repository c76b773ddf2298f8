"""Records on their way out, what became of each, and the one rule for trying again."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from core.clock import Clock, SystemClock
from core.retry import Outage
from producers import hints

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
PATIENCE = 90.0  # seconds: a gateway's restart takes a minute at most
_DOUBLINGS = 10
THROTTLED = "ProvisionedThroughputExceededException"
INTERNAL = "InternalFailure"

T = TypeVar("T")

_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to send; `value` is a JSON value, or bytes that travel as they are."""

    key: int
    value: Any

    @property
    def payload(self) -> bytes:
        """The bytes a broker is to store."""
        return self.value if isinstance(self.value, bytes) else compact(self.value).encode()


class Outcome(StrEnum):
    """What is known of a record that was sent."""

    STORED = "stored"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one record, and where it is stored or why not.

    `position` is the offset or the sequence number. `retriable`: the other side says that it did
    not store the record, and that it may the next time. `hint`: what to do about the error.
    """

    outcome: Outcome
    partition: str = ""
    position: int | str = ""
    error: str = ""
    retriable: bool = False
    hint: str = ""


Send = Callable[[str, Sequence[Outgoing]], Sequence[Result]]


@dataclass(frozen=True)
class Retry:
    """Further tries after pauses of full jitter: 0 to 0.1, 0.2, 0.4 … 5 s.

    There are `tries` of them at least, and they go on for `seconds`: longer than a gateway's
    restart takes. None follows once `stopping` says so.
    """

    tries: int = 5
    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.Random)
    seconds: float = PATIENCE
    stopping: Callable[[], bool] = lambda: False

    def pauses(self) -> Iterator[float]:
        """Seconds to wait before each further try."""
        began, n = self.clock.monotonic(), 0
        while not self.stopping():
            if n >= self.tries and self.clock.monotonic() - began >= self.seconds:
                return
            yield self.rng.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(n, _DOUBLINGS)))
            n += 1

    def run(
        self, attempt: Callable[[Sequence[T]], Sequence[Result]], items: list[T]
    ) -> list[Result]:
        """One result per item, in order; only retriable ones are attempted again."""
        results, outage = list(attempt(items)), Outage("producer", self.clock)
        for pause in self.pauses():
            again = [i for i, result in enumerate(results) if result.retriable]
            if not again:
                outage.over()
                break
            outage.failed("", results[again[0]].error, results[again[0]].hint)
            self.clock.sleep(pause)
            renewed = attempt([items[i] for i in again])
            results = _replaced(results, dict(zip(again, renewed, strict=True)))
        return results


def _replaced(results: list[Result], renewed: dict[int, Result]) -> list[Result]:
    return [renewed.get(i, result) for i, result in enumerate(results)]


def compact(value: Any) -> str:
    """`value` as JSON text without blanks."""
    return _encode(value)


def chunks(
    items: Sequence[T], size: Callable[[T], int], most: int, limit: int
) -> Iterator[list[T]]:
    """`items` in order, in lists of at most `most` items and `limit` bytes, but one at least."""
    chunk: list[T] = []
    held = 0
    for item in items:
        if chunk and (len(chunk) == most or held + size(item) > limit):
            yield chunk
            chunk, held = [], 0
        chunk.append(item)
        held += size(item)
    if chunk:
        yield chunk


def put_result(entry: Mapping[str, Any]) -> Result:
    """What one entry of a PutRecords answer says (protocol: Kinesis PutRecordsResultEntry)."""
    code = entry.get("ErrorCode")
    if code is None:
        return Result(Outcome.STORED, entry["ShardId"], entry["SequenceNumber"])
    error = f"{code}: {entry.get('ErrorMessage')}"
    # An internal failure may have stored the record; only throttling surely has not.
    outcome = Outcome.UNKNOWN if code == INTERNAL else Outcome.REJECTED
    return Result(outcome, error=error, retriable=code == THROTTLED, hint=hints.of_code(code))
