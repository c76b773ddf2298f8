"""Objects of Kafka Connect's S3 sink: `<topic>+<partition>+<first offset>.json` and its kin.

JSON lines (plain or gzip) and Parquet rows hold values only. Their offsets are consecutive from the
one in the name on. The connector's classes: TopicPartitionWriter, JsonFormat, ParquetFormat.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from consumers.archive.json_rows import height, rows
from consumers.archive.pieces import Decode, Piece, damaged
from core.batch import HEADERS, HEADERS_DTYPE, KAFKA, VALUE, Partition, Position
from core.errors import SourceError
from core.slices import SLICE_BYTES

_NAME = re.compile(r"(?P<topic>[a-zA-Z0-9._-]+)\+(?P<id>\d+)\+(?P<first>\d+)\.(?P<kind>.+)")
_KINDS = re.compile(r"json(\.gz)?|((snappy|gz|zstd|lz4|brotli)\.)?parquet")
_ASIDE = re.compile(r"(keys|headers)\..+")  # of store.kafka.keys and store.kafka.headers
TAIL = 100  # records that tell a topic from another one of its name
_UNREADABLE = (ValueError, OSError, EOFError, zlib.error, pl.exceptions.PolarsError)


class Named(NamedTuple):
    """What the name of an object says."""

    partition: Partition
    first: int
    key: str


def named(key: str, place: str) -> Named | None:
    """Read a key; None: it is none of the connector's values. SourceError for another format."""
    found = _NAME.fullmatch(key.rpartition("/")[2])
    if found is None or _ASIDE.fullmatch(found["kind"]):
        return None
    if not _KINDS.fullmatch(found["kind"]):
        raise SourceError(
            f"{place}/{key} is in a format that is not imported: {found['kind']}",
            "pinpip imports .json, .json.gz and .parquet, as the connector's JsonFormat and "
            "ParquetFormat write them",
        )
    return Named(Partition(found["topic"], str(int(found["id"]))), int(found["first"]), key)


def decoder(place: str, *, headers: bool) -> Decode:
    """Return what reads the objects below `place`; key, time and headers are null.

    The number of records must be what the name of the next object says.
    """

    def decode(piece: Piece, body: bytes) -> Iterator[pl.DataFrame]:
        found = count(piece.key, body, place)
        if found != piece.records:
            raise _unfit(piece, found, place)
        first = piece.start.number
        try:
            for values in _values(piece.key, body):
                yield _frame(piece.partition, first, values, headers=headers)
                first += len(values)
        except _UNREADABLE as error:
            raise damaged(piece, place, str(error)) from error

    return decode


def count(key: str, body: bytes, place: str) -> int:
    """Return how many records an object has; SourceError when it cannot be read."""
    try:
        if key.endswith("parquet"):
            return height(body)
        return sum(_lines(part) for part in _texts(key, body))
    except _UNREADABLE as error:
        raise _unreadable(key, place, error) from error


def tail(key: str, body: bytes, place: str) -> tuple[int, list[bytes]]:
    """Return how many records an object has, and the last TAIL of them. Raises as `count`."""
    last = pl.Series(VALUE, [], pl.Binary)
    try:
        for part in _values(key, body):
            last = pl.concat([last, part]).tail(TAIL)
    except _UNREADABLE as error:
        raise _unreadable(key, place, error) from error
    return count(key, body, place), last.to_list()


def _unreadable(key: str, place: str, error: Exception) -> SourceError:
    return SourceError(f"{place}/{key} cannot be read: {error}", "copy it again from its bucket")


def _unfit(piece: Piece, found: int, place: str) -> SourceError:
    first, end = piece.start.number, piece.end.number
    what = "overlaps the next object" if first + found > end else "leaves a hole"
    return SourceError(
        f"{place}/{piece.key} has {found} records and {what}, which begins at offset {end}: "
        f"{end - first} are expected",
        "an object is missing or there twice, or the topic is compacted or transactional: the "
        "offsets of such records are not known. --until-offset and --from-offset pass it by",
    )


def _lines(text: bytes) -> int:
    return text.count(b"\n") + (not text.endswith(b"\n"))


def _texts(key: str, body: bytes) -> Iterator[bytes]:
    """Yield the lines of a text in slices of whole lines."""
    stream = gzip.GzipFile(fileobj=io.BytesIO(body)) if key.endswith(".gz") else io.BytesIO(body)
    rest = b""
    while part := stream.read(SLICE_BYTES):
        whole, newline, last = (rest + part).rpartition(b"\n")
        if newline:
            yield whole + newline
        rest = last
    if rest:
        yield rest


def _values(key: str, body: bytes) -> Iterator[pl.Series]:
    if key.endswith("parquet"):
        yield from rows(body)
        return
    for text in _texts(key, body):
        lines = text.removesuffix(b"\n").split(b"\n")
        if not all(lines):
            raise ValueError("it has an empty line")
        yield pl.Series(VALUE, lines, pl.Binary)


def _frame(partition: Partition, first: int, values: pl.Series, *, headers: bool) -> pl.DataFrame:
    own = {KAFKA.number, VALUE}
    place = {KAFKA.source: partition.source, KAFKA.partition: int(partition.id)}
    numbers = pl.int_range(first, first + len(values)).alias(KAFKA.number)
    columns = {
        **KAFKA.metadata,
        VALUE: pl.Binary(),
        **({HEADERS: HEADERS_DTYPE} if headers else {}),
    }
    given = [pl.lit(place.get(n)).cast(t).alias(n) for n, t in columns.items() if n not in own]
    return pl.DataFrame([values]).with_columns(numbers, *given).select(list(columns))


def pieces(found: Sequence[Named], place: str, records: int) -> list[Piece]:
    """Return the objects of one partition in order; the last one has so many `records`.

    Each ends where the next one begins. Raises SourceError for two objects with one offset, and for
    a last one without records.
    """
    own = sorted(found, key=lambda each: each.first)
    for before, after in pairwise(own):
        if before.first == after.first:
            raise SourceError(
                f"{place} has two objects that begin at offset {before.first} of "
                f"{before.partition}: {before.key} and {after.key}",
                "take away the one that the connector did not write",
            )
    if not records:
        raise SourceError(f"{place}/{own[-1].key} is empty", "copy it again from its bucket")
    ends = [*(each.first for each in own[1:]), own[-1].first + records]
    return [
        Piece(each.key, each.partition, Position(each.first), Position(end), end - each.first)
        for each, end in zip(own, ends, strict=True)
    ]
