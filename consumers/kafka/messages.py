"""Kafka messages as columns: no Python object per record outlives the call."""

from collections.abc import Sequence
from datetime import UTC, datetime
from operator import methodcaller
from typing import NamedTuple, cast

import polars as pl
from confluent_kafka import Message

from core.batch import HEADERS, HEADERS_DTYPE, KAFKA, TIMESTAMP, VALUE, Partition
from core.errors import SourceError

UNREADABLE = "_unreadable"  # the key of the one header of a record whose headers cannot be read
_Headers = list[tuple[str, bytes | None]]
_given = methodcaller("headers")  # a plain call may let the client's own SystemError out later
_LAST_MS = int(datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC).timestamp() * 1000)


def frame_of(messages: Sequence[Message], *, headers: bool) -> pl.DataFrame:
    """Error-free messages as the frame of `core.batch.Records`, `_headers` when wanted.

    Nothing that a producer can set raises: a key that is not UTF-8 is its bytes in hex, a timestamp
    outside the years 1970-9999 is null, headers whose keys are not UTF-8 are one called UNREADABLE.
    """
    columns = [
        pl.Series("_topic", list(map(Message.topic, messages)), pl.String),
        pl.Series("_partition", list(map(Message.partition, messages)), pl.Int32),
        pl.Series("_offset", list(map(Message.offset, messages)), pl.Int64),
        _keys(list(map(Message.key, messages))),
        _timestamps([time for _, time in map(Message.timestamp, messages)]),
        pl.Series(VALUE, list(map(Message.value, messages)), pl.Binary),
    ]
    if headers:
        columns.append(_headers(list(map(_headers_of, messages))))
    return pl.DataFrame(columns)


class OffsetRange(NamedTuple):
    """The stretch of one partition that a frame holds; `end` is the offset after its last."""

    first: int
    end: int
    records: int


def ranges(frame: pl.DataFrame) -> dict[Partition, OffsetRange]:
    """Return the range of each partition in `frame`; SourceError if its offsets do not ascend."""
    offset = pl.col(KAFKA.number)
    own = frame.group_by(KAFKA.source, KAFKA.partition).agg(
        offset.first().alias("first"),
        offset.last().alias("last"),
        pl.len(),
        (offset.diff().drop_nulls() > 0).all().alias("ascends"),
    )
    if not own["ascends"].all():
        raise SourceError(f"offsets of {own['_topic'][0]} came out of order", "start again")
    return {
        Partition(topic, str(partition)): OffsetRange(first, KAFKA.after(last, None).number, count)
        for topic, partition, first, last, count, _ in own.iter_rows()
    }


def _keys(keys: list[bytes | None]) -> pl.Series:
    try:
        return pl.Series("_key", keys, pl.Binary).cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series("_key", [_text(key) for key in keys], pl.String)


def _text(key: bytes | None) -> str | None:
    """Return the key as text; bytes that are not UTF-8 in hex, so that nothing is lost."""
    if key is None:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return "0x" + key.hex()


def _timestamps(milliseconds: list[int]) -> pl.Series:
    """Return the times of the records, null for a number that is not a time.

    A negative number says that the broker has no time. Microseconds sent as milliseconds lie beyond
    the year 9999, which neither Python nor other readers of the table can hold.
    """
    raw = pl.Series("_timestamp", milliseconds, pl.Int64)
    known = raw.set(~raw.is_between(0, _LAST_MS), None)
    return known.cast(pl.Datetime("ms", "UTC")).cast(TIMESTAMP)


def _headers_of(message: Message) -> _Headers:
    """Return the record's headers; the client gives none of them when one key is not UTF-8."""
    try:
        return cast("_Headers", _given(message) or [])
    except (SystemError, UnicodeDecodeError):
        return [(UNREADABLE, None)]


def _headers(headers: list[_Headers]) -> pl.Series:
    import pyarrow as pa  # noqa: PLC0415  # large and slow to import, and few want headers

    flat = [header for own in headers for header in own]
    items = pa.StructArray.from_arrays(
        [
            pa.array([key for key, _ in flat], pa.large_string()),
            pa.array([value for _, value in flat], pa.large_binary()),
        ],
        names=["key", "value"],
    )
    ends = pl.Series(list(map(len, headers)), dtype=pl.Int64).cum_sum()
    bounds = pa.array([0, *ends], pa.int64())
    lists = pl.from_arrow(pa.LargeListArray.from_arrays(bounds, items))
    return pl.Series(HEADERS, lists, HEADERS_DTYPE)
