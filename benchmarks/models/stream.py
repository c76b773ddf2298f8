"""The shards of a stream: their records are computed from the number of each, none is stored."""

from base64 import b64encode
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

BYTES_PER_S = 2_000_000
CALLS_PER_S = 5
_ANSWER_BYTES = 10_000_000
_FIRST = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898


class Layout(BaseModel):
    """A stream to create: `records` are there at once in each shard, then `rate` a second come."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    shards: int = Field(ge=1)
    records: int = Field(0, ge=0)
    rate: float = Field(0.0, ge=0)


@dataclass
class Limits:
    """What the readers of one shard share: five calls and 2 MB a second."""

    calls: deque[float] = field(default_factory=deque)
    free_at: float = 0.0

    def refuse(self, now: float) -> bool:
        """Return whether a call of this moment is one too many; counts it otherwise."""
        while self.calls and self.calls[0] <= now - 1:
            self.calls.popleft()
        if len(self.calls) >= CALLS_PER_S or self.free_at > now + 1:
            return True
        self.calls.append(now)
        return False

    def spend(self, size: int, now: float) -> None:
        """Count the bytes of an answer: what exceeds a second's share delays the next call."""
        self.free_at = max(self.free_at, now) + size / BYTES_PER_S


@dataclass
class Shard:
    """Record n has the nth value of `values`, over and over; times are of the wall clock."""

    values: Sequence[bytes]
    created: float
    filled: int
    rate: float
    began: float
    until: float | None = None
    limits: Limits = field(default_factory=Limits)

    def end(self, now: float) -> int:
        """Return the number of records that have arrived."""
        going = max(0.0, min(now, self.until or now) - self.began)
        return self.filled + int(going * self.rate)

    def arrival(self, number: int) -> float:
        """Return when a record arrived."""
        late = number - self.filled
        return self.created if late < 0 else self.began + (late + 1) / self.rate

    def at(self, moment: float, now: float) -> int:
        """Return the first record that arrived at `moment` or later."""
        return bisect_left(range(self.end(now)), moment, key=self.arrival)

    def records(self, first: int, limit: int, now: float) -> tuple[list[str], int]:
        """Return records from `first` on as JSON, 10 MB at most, and their bytes."""
        found, size = list[str](), 0
        for number in range(first, min(first + limit, self.end(now))):
            value = self.values[number % len(self.values)]
            size += len(value) * 3 // 4
            if size > _ANSWER_BYTES:
                break
            found.append(
                f'{{"SequenceNumber":"{_FIRST + number}","PartitionKey":"key",'
                f'"ApproximateArrivalTimestamp":{self.arrival(number):.3f},'
                f'"Data":"{value.decode()}"}}'
            )
        return found, size


def encoded(values: Sequence[bytes]) -> list[bytes]:
    """Return values as the JSON of Kinesis holds them."""
    return [b64encode(value) for value in values]


def number_of(sequence: str) -> int:
    """Return which record of its shard has this sequence number."""
    return int(sequence) - _FIRST


def sequence_of(number: int) -> str:
    """Return the sequence number of a record."""
    return str(_FIRST + number)
