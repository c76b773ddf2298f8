"""Reading one shard: the calls to Kinesis, and an answer as a frame."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from consumers.kinesis import faults
from consumers.kinesis.kpl import split
from consumers.kinesis.shards import Shard, children
from core.batch import KINESIS, VALUE, Note, Partition, Position, Records
from core.errors import SourceError
from core.retry import Backoff

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import GetRecordsOutputTypeDef

LIMIT = 10_000
DIGITS = 64
_NUMBER = rf"^[0-9]{{1,{DIGITS}}}$"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ROW = ("_sequence", "_subsequence", "_partition_key", "_timestamp", VALUE)
_SCHEMA = {name: KINESIS.metadata.get(name, pl.Binary()) for name in _ROW}
NOTHING = pl.DataFrame(schema={**KINESIS.metadata, VALUE: pl.Binary()})

Begin = Literal["TRIM_HORIZON", "LATEST"] | datetime


@dataclass
class Cursor:
    """Where the reading of one shard is. The truth is `position`; the iterator is disposable.

    `begin` says where to start while there is no position. `fresh`: no answer of the iterator has
    shown yet what it begins with. `finished`: a bounded reader has enough. `proven`: the stream was
    seen to be the same after the iterator was made.
    """

    shard: Shard
    begin: Begin
    position: Position | None
    due: float = 0.0
    iterator: str | None = None
    fresh: bool = True
    finished: bool = False
    proven: bool = False
    backoff: Backoff = field(default_factory=faults.backoff)


@dataclass(frozen=True)
class Response:
    """What one GetRecords gave; `gap`: the record already read, which should come first, is gone.

    That is said once an iterator, and also where no record was read before.
    `asked`: no later than when Kinesis received the request.
    `nbytes`: of the data that Kinesis sent.
    `digits`: how many digits each sequence number (64 digits) had that came with leading zeros.
    """

    frame: pl.DataFrame
    nbytes: int
    digits: Mapping[str, int]
    full: bool
    behind: int
    iterator: str | None
    children: Mapping[str, Shard]
    gap: bool
    asked: datetime


def get_records(client: "KinesisClient", stream: str, cursor: Cursor, now: datetime) -> Response:
    """Request the next records of the cursor's shard; botocore's errors pass through."""
    if cursor.iterator is None:
        _new_iterator(client, stream, cursor, now)
    answer = client.get_records(ShardIterator=cursor.iterator or "", Limit=LIMIT)
    records = answer["Records"]
    return Response(
        to_frame(Partition(stream, cursor.shard.id), records),
        sum(len(record["Data"]) for record in records),
        _digits(records),
        len(records) == LIMIT,
        answer.get("MillisBehindLatest", 0),
        answer.get("NextShardIterator"),
        children(answer.get("ChildShards", [])),
        _begins_later(cursor, answer),
        now,
    )


def _new_iterator(client: "KinesisClient", stream: str, cursor: Cursor, now: datetime) -> None:
    where: dict[str, Any] = {"StreamName": stream, "ShardId": cursor.shard.id, **_begin(cursor)}
    cursor.proven = False
    cursor.iterator = client.get_shard_iterator(**where)["ShardIterator"]
    cursor.fresh = True
    if cursor.begin == "LATEST":
        cursor.begin = now  # a second LATEST, after an outage, would skip what came meanwhile


def _begin(cursor: Cursor) -> Mapping[str, Any]:
    position = cursor.position
    if position is not None and cursor.shard.padded and not position.digits:
        # How the number was written is not known: read all, what was read is dropped.
        return {"ShardIteratorType": "TRIM_HORIZON"}
    if position is not None:
        # AT, not AFTER: an aggregate may have been read in part; what was read is dropped.
        number = position.received
        return {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": number}
    if isinstance(cursor.begin, datetime):
        return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": cursor.begin}
    return {"ShardIteratorType": cursor.begin}


def _digits(records: Sequence[Mapping[str, Any]]) -> Mapping[str, int]:
    numbers = [record["SequenceNumber"] for record in records]
    return {n.zfill(DIGITS): len(n) for n in numbers if n.startswith("0")}


def _begins_later(cursor: Cursor, answer: "GetRecordsOutputTypeDef") -> bool:
    """Whether a new iterator begins after the record at the position, once that is known."""
    records = answer["Records"]
    at_end = not answer.get("MillisBehindLatest") or not answer.get("NextShardIterator")
    if not cursor.fresh or not (records or at_end):
        return False
    cursor.fresh, at = False, cursor.position
    return at is None or not records or int(records[0]["SequenceNumber"]) > at.number


def to_frame(partition: Partition, records: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Kinesis records as user records with the metadata columns and `_value`, in order.

    Raises SourceError for a sequence number that is not 1 to 64 decimal digits.
    """
    rows = [row for record in records for row in _rows(record)]
    columns = dict(zip(_ROW, zip(*rows, strict=True), strict=True)) if rows else {}
    frame = pl.DataFrame(columns, schema=_SCHEMA)
    for number in frame["_sequence"].filter(~frame["_sequence"].str.contains(_NUMBER)).head(1):
        raise SourceError(
            f"{partition}: the sequence number {number!r} is not 1 to {DIGITS} digits",
            "this version of pinpip cannot store it: report it, with the name of the service",
        )
    return frame.select(
        pl.lit(partition.source).alias("_stream"),
        pl.lit(partition.id).alias("_shard"),
        pl.col("_sequence").str.zfill(DIGITS),
        *_ROW[1:],
    )


def _rows(record: Mapping[str, Any]) -> Iterator[tuple[str, int, str, int | None, bytes]]:
    """Sequence number, sub-sequence, partition key, arrival (µs since 1970) and data of each."""
    number, data = record["SequenceNumber"], record["Data"]
    arrival = _arrival(record.get("ApproximateArrivalTimestamp"))
    packed = split(data)
    if packed is None:
        yield number, 0, _text(record["PartitionKey"]), arrival, data
        return
    for sub, user in enumerate(packed):
        yield number, sub, user.partition_key, arrival, user.data


def _arrival(moment: datetime | None) -> int | None:
    """Microseconds since 1970; None for a record without a time, which the API allows."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def _text(key: str) -> str:
    """Return the key; in hex, as Kafka's, when it holds half of a surrogate pair."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return "0x" + key.encode("utf-8", "surrogatepass").hex()
    return key


def noted(notes: Mapping[Partition, Note]) -> Records | None:
    """Return records that hold only notes."""
    return Records(NOTHING, {}, KINESIS, notes) if notes else None
