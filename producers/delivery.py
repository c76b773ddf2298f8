"""Records to send, the delivery report of each, and retries."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from typing import Any, TypeVar

from core.clock import Clock, SystemClock
from core.retry import Backoff, Outage
from producers import hints

RETRY_TIMEOUT_S = 90.0  # a restart of the gateway takes a minute at most
THROTTLED = "ProvisionedThroughputExceededException"
INTERNAL = "InternalFailure"

T = TypeVar("T")

_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class ProducerRecord:
    """A record to send; `value` is a JSON value, or bytes that are sent unchanged.

    The broker stores the key as plain text.
    """

    key: Any  # int, float or text
    value: Any

    @property
    def payload(self) -> bytes:
        """The bytes that the broker stores."""
        return self.value if isinstance(self.value, bytes) else compact(self.value).encode()


class DeliveryStatus(StrEnum):
    """Whether a record that was sent is stored."""

    STORED = "stored"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """Whether one record is stored, and where or why not.

    `position` is the offset or the sequence number. `retriable`: the record is not stored, and a
    retry may store it. `hint`: what to do about the error.
    """

    status: DeliveryStatus
    partition: str = ""
    position: int | str = ""
    error: str = ""
    retriable: bool = False
    hint: str = ""


Send = Callable[[str, Sequence[ProducerRecord]], Sequence[DeliveryReport]]


@dataclass(frozen=True)
class Retry:
    """Retries after pauses with full jitter: 0 to 0.1, 0.2, 0.4 … 5 s.

    There are at least `tries` retries, and retries for at least `seconds`. `stopping` ends them.
    """

    tries: int = 5
    clock: Clock = field(default_factory=SystemClock)
    rng: random.Random = field(default_factory=random.Random)
    seconds: float = RETRY_TIMEOUT_S
    stopping: Callable[[], bool] = lambda: False

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each retry."""
        began, backoff = self.clock.monotonic(), Backoff(self.rng)
        for retries in count():
            is_late = self.clock.monotonic() - began >= self.seconds
            if self.stopping() or (retries >= self.tries and is_late):
                return
            yield backoff.wait()

    def run(
        self, attempt: Callable[[Sequence[T]], Sequence[DeliveryReport]], items: list[T]
    ) -> list[DeliveryReport]:
        """Return one report per item, in order; only retriable items are attempted again."""
        reports, outage = list(attempt(items)), Outage("producer", self.clock)
        for pause in self.pauses():
            again = [i for i, report in enumerate(reports) if report.retriable]
            if not again:
                outage.over()
                break
            outage.failed("", reports[again[0]].error, reports[again[0]].hint)
            self.clock.sleep(pause)
            renewed = dict(zip(again, attempt([items[i] for i in again]), strict=True))
            reports = [renewed.get(i, report) for i, report in enumerate(reports)]
        return reports


def compact(value: Any) -> str:
    """Return `value` as JSON without whitespace."""
    return _encode(value)


def chunks(
    items: Sequence[T], size: Callable[[T], int], max_items: int, max_bytes: int
) -> Iterator[list[T]]:
    """Yield `items`, in order, in lists within both limits; a larger item is a list by itself."""
    chunk: list[T] = []
    held = 0
    for item in items:
        if chunk and (len(chunk) == max_items or held + size(item) > max_bytes):
            yield chunk
            chunk, held = [], 0
        chunk.append(item)
        held += size(item)
    if chunk:
        yield chunk


def put_report(entry: Mapping[str, Any]) -> DeliveryReport:
    """Return the report in one entry of a PutRecords response (PutRecordsResultEntry)."""
    code = entry.get("ErrorCode")
    if code is None:
        return DeliveryReport(DeliveryStatus.STORED, entry["ShardId"], entry["SequenceNumber"])
    error = f"{code}: {entry.get('ErrorMessage')}"
    # After an internal failure the record may be stored; a throttled record is not stored.
    status = DeliveryStatus.UNKNOWN if code == INTERNAL else DeliveryStatus.REJECTED
    return DeliveryReport(
        status, error=error, retriable=code == THROTTLED, hint=hints.of_code(code)
    )
