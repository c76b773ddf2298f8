"""Many user records in one Kinesis record, as the Kinesis Producer Library packs them.

Format: magic, protobuf, MD5 of the protobuf
(kinesis-aggregation repository, "KPL Aggregated Record Format"):

    AggregatedRecord { repeated string partition_key_table = 1;
                       repeated string explicit_hash_key_table = 2;
                       repeated Record records = 3; }
    Record { required uint64 partition_key_index = 1; optional uint64 explicit_hash_key_index = 2;
             required bytes data = 3; repeated Tag tags = 4; }

Every user record is kept, also one whose hash key lies outside the shard after a reshard. The KPL
sends such a record again (a repeat of the producer's, with coordinates of its own), but other
producers do not: dropping it, as the KCL does, would lose theirs.
"""

from collections.abc import Iterator
from hashlib import md5
from typing import NamedTuple

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_SIZE = 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10


class UserRecord(NamedTuple):
    """What a producer put, before it was packed."""

    partition_key: str
    data: bytes


def split(data: bytes) -> list[UserRecord] | None:
    """Return the user records packed in `data`, in order; None when `data` is a plain record.

    A record that only looks like an aggregate (magic, digest or protobuf wrong) is plain, and so is
    an aggregate of no records: each stored record is counted once at least.
    """
    body, digest = data[len(MAGIC) : -DIGEST_SIZE], data[-DIGEST_SIZE:]
    if not data.startswith(MAGIC) or not body:
        return None
    if md5(body, usedforsecurity=False).digest() != digest:
        return None
    try:
        return _user_records(body) or None
    except (ValueError, IndexError):
        return None


def _user_records(body: bytes) -> list[UserRecord]:
    keys: list[str] = []
    packed: list[bytes] = []
    for number, value in _fields(body):
        if number == 1:
            keys.append(_bytes(value).decode())
        elif number == 3:  # noqa: PLR2004  # numbered in the module's docstring
            packed.append(_bytes(value))
    return [_user_record(record, keys) for record in packed]


def _user_record(record: bytes, keys: list[str]) -> UserRecord:
    fields = dict(_fields(record))
    index = fields.get(1)
    if not isinstance(index, int):
        raise ValueError("a user record names no partition key")  # noqa: TRY004  # the data is wrong
    return UserRecord(keys[index], _bytes(fields.get(3)))


def _bytes(value: int | bytes | None) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field of bytes holds none")  # noqa: TRY004  # the data is wrong
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protobuf message; ValueError when it is none."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | bytes
        if tag & 7 == _VARINT:
            value, at = _varint(message, at)
        else:
            size, at = _size(message, at, tag & 7)
            value, at = message[at : at + size], at + size
        if at > len(message):
            raise ValueError("the message ends within a field")
        yield tag >> 3, value


def _size(message: bytes, at: int, wire_type: int) -> tuple[int, int]:
    if wire_type == _BYTES:
        return _varint(message, at)
    if wire_type not in _FIXED_SIZES:
        raise ValueError(f"wire type {wire_type} is not in use")
    return _FIXED_SIZES[wire_type], at


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the integer at `at` and where the next field starts; IndexError past the end."""
    value = 0
    for n in range(_LONGEST_VARINT):
        byte = message[at + n]
        value |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:  # noqa: PLR2004  # the top bit says that more follows
            return value, at + n + 1
    raise ValueError("a varint has more than 64 bits")
