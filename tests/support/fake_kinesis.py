"""Kinesis in memory, for what moto cannot do, and a clock that only sleeping moves.

Closed shards end, sequence numbers look real, iterators expire, any call can fail.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

STREAM = "clicks"
FIRST_SEQUENCE = 49659153221408023584729436374587651943206788234657521666
ITERATOR_LIFE = 300.0
_START = datetime(2024, 5, 1, 12, tzinfo=UTC)


class FakeClock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        """Seconds slept so far."""
        return self.seconds

    def now(self) -> datetime:
        """Return the same moment as a date and time."""
        return _START + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += max(0.0, seconds)


def fault(code: str, operation: str = "GetRecords", status: int = 400) -> ClientError:
    """Make an error as botocore raises it."""
    error: Any = {
        "Error": {"Code": code, "Message": f"{code} was asked for"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(error, operation)


@dataclass
class FakeShard:
    """Records of one shard, oldest first."""

    parents: tuple[str, ...] = ()
    records: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False


class FakeKinesis:
    """One stream. `faults[operation, shard]` are raised first, one per call; `calls` is the log.

    `asked`: the requests for an iterator, by shard. `date`: the HTTP header of each listing.
    While `open_gate` is cleared, GetRecords does not answer. Sequence numbers have at least `width`
    digits and are compared as text, as by ministack.
    """

    def __init__(
        self, clock: FakeClock, shards: int = 1, limit: int = 10_000, width: int = 0
    ) -> None:
        self.clock = clock
        self.limit = limit
        self.width = width
        self.shards = {f"shardId-{n:012d}": FakeShard() for n in range(shards)}
        self._shard = count(shards)
        self.faults: defaultdict[tuple[str, str], list[Exception]] = defaultdict(list)
        self.calls: list[tuple[str, str, float]] = []
        self.asked: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.millis_behind_nothing = 0  # of a response that found no records yet
        self.open_gate = Event()
        self.open_gate.set()
        self.meta = SimpleNamespace(region_name="eu-north-1")
        self._next = FIRST_SEQUENCE
        self.created = clock.now() - timedelta(days=1)
        self.retention = timedelta(hours=24)
        self.date = ""
        self._closed_at: dict[str, datetime] = {}

    @property
    def client(self) -> "KinesisClient":
        """This, as boto3's type."""
        return cast("KinesisClient", self)

    def put(self, shard: str, *values: bytes, key: str = "k") -> list[int]:
        """Store `values`; their sequence numbers are 56 digits long and not dense."""
        numbers = [self._number() for _ in values]
        self.shards[shard].records += [
            {
                "SequenceNumber": self._text(number),
                "ApproximateArrivalTimestamp": self.clock.now(),
                "Data": value,
                "PartitionKey": key,
            }
            for number, value in zip(numbers, values, strict=True)
        ]
        return numbers

    def _text(self, number: int) -> str:
        return str(number).zfill(self.width)

    def _number(self) -> int:
        self._next += 2**35 + 16
        return self._next

    def reshard(self, parents: tuple[str, ...], children: int) -> list[str]:
        """Close `parents` and open `children` shards in their place."""
        names = [f"shardId-{next(self._shard):012d}" for _ in range(children)]
        for parent in parents:
            self.shards[parent].closed = True
            self._closed_at[parent] = self.clock.now()
        self.shards |= {name: FakeShard(parents) for name in names}
        return names

    def describe_stream_summary(self, **_: Any) -> dict[str, Any]:
        """DescribeStreamSummary: when the stream was created, and how long it keeps records."""
        self._called("DescribeStreamSummary", "")
        hours = int(self.retention.total_seconds()) // 3600
        told = {"StreamCreationTimestamp": self.created, "RetentionPeriodHours": hours}
        return {"StreamDescriptionSummary": told}

    def pass_time(self, hours: float) -> None:
        """Let hours pass, and retention take what is too old: records, and shards closed since."""
        self.clock.sleep(hours * 3600)
        horizon = self.clock.now() - self.retention
        for shard in self.shards.values():
            kept = [r for r in shard.records if r["ApproximateArrivalTimestamp"] >= horizon]
            shard.records[:] = kept
        for name, at in self._closed_at.items():
            if at < horizon:
                self.shards.pop(name, None)

    def recreate(self) -> None:
        """Delete the stream and create it again with as many shards, numbered from 1 again."""
        self.created = self.clock.now()
        self.shards = {f"shardId-{n:012d}": FakeShard() for n in range(len(self.shards))}
        self._next = FIRST_SEQUENCE

    def list_shards(self, **request: Any) -> dict[str, Any]:
        """ListShards, two shards a page."""
        self._called("ListShards", "")
        names = sorted(self.shards)
        at = int(request.get("NextToken", 0))
        answer: dict[str, Any] = {"Shards": [self._entry(name) for name in names[at : at + 2]]}
        answer["ResponseMetadata"] = {"HTTPHeaders": {"date": self.date} if self.date else {}}
        return answer | ({"NextToken": str(at + 2)} if at + 2 < len(names) else {})

    def _entry(self, name: str) -> dict[str, Any]:
        shard = self.shards[name]
        parents = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
        ending = {"EndingSequenceNumber": self._text(self._next)} if shard.closed else {}
        numbers = {"StartingSequenceNumber": self._text(FIRST_SEQUENCE), **ending}
        return {"ShardId": name, "SequenceNumberRange": numbers, **parents}

    def get_shard_iterator(self, **request: Any) -> dict[str, str]:
        """GetShardIterator; the iterator is readable text."""
        name, kind = request["ShardId"], request["ShardIteratorType"]
        self.asked[name].append(request)
        self._called("GetShardIterator", name)
        records = self.shards[name].records
        if kind == "LATEST":
            after = int(records[-1]["SequenceNumber"]) if records else 0
        elif kind == "AT_TIMESTAMP":
            earlier = [
                r for r in records if r["ApproximateArrivalTimestamp"] < request["Timestamp"]
            ]
            after = int(earlier[-1]["SequenceNumber"]) if earlier else 0
        else:
            after = self._before(records, request.get("StartingSequenceNumber", self._text(1)))
        return {"ShardIterator": self._iterator(name, after)}

    def _before(self, records: list[dict[str, Any]], asked: str) -> int:
        """Return the number before the first record at or after `asked` in text order."""
        if len(asked) >= self.width:
            return int(asked) - 1
        earlier = [r for r in records if r["SequenceNumber"] < asked]
        return int(earlier[-1]["SequenceNumber"]) if earlier else 0

    def _iterator(self, name: str, after: int) -> str:
        return f"{name} {after} {self.clock.monotonic()}"

    def get_records(self, **request: Any) -> dict[str, Any]:
        """GetRecords, with the end of a closed shard as Kinesis tells it."""
        name, after, issued = request["ShardIterator"].split()
        self._called("GetRecords", name)
        if self.clock.monotonic() - float(issued) > ITERATOR_LIFE:
            raise fault("ExpiredIteratorException")
        shard = self.shards[name]
        rest = [r for r in shard.records if int(r["SequenceNumber"]) > int(after)]
        page = rest[: min(request["Limit"], self.limit)]
        self.open_gate.wait(10)
        answer = {"Records": page, "MillisBehindLatest": self._behind(rest, page)}
        if shard.closed and not page:
            return answer | {"NextShardIterator": None, "ChildShards": self._children(name)}
        last = int(page[-1]["SequenceNumber"]) if page else int(after)
        return answer | {"NextShardIterator": self._iterator(name, last)}

    def _behind(self, rest: list[dict[str, Any]], page: list[dict[str, Any]]) -> int:
        return 1000 * (len(rest) > len(page)) if rest else self.millis_behind_nothing

    def _children(self, name: str) -> list[dict[str, Any]]:
        found = {n: s.parents for n, s in self.shards.items() if name in s.parents}
        return [{"ShardId": n, "ParentShards": list(parents)} for n, parents in found.items()]

    def _called(self, operation: str, shard: str) -> None:
        self.calls.append((operation, shard, self.clock.monotonic()))
        if self.faults[operation, shard]:
            raise self.faults[operation, shard].pop(0)
        if shard and shard not in self.shards:
            raise fault("ResourceNotFoundException", operation)
