"""KPL aggregates, packed as the producer library does."""

from collections.abc import Sequence
from hashlib import md5

from consumers.kinesis.kpl import MAGIC, UserRecord


def varint(value: int) -> bytes:
    """Encode a protobuf varint."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def chunk(number: int, data: bytes) -> bytes:
    """Encode a length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def sealed(body: bytes) -> bytes:
    """`body` between magic and digest."""
    return MAGIC + body + md5(body, usedforsecurity=False).digest()


def aggregate(users: Sequence[UserRecord], hash_key: str | None = None) -> bytes:
    """`users` in one record; with `hash_key` each names it as its explicit hash key."""
    keys = sorted({user.partition_key for user in users})
    body = b"".join(chunk(1, key.encode()) for key in keys)
    body += chunk(2, hash_key.encode()) if hash_key is not None else b""
    for user in users:
        index = varint(1 << 3) + varint(keys.index(user.partition_key))
        explicit = varint(2 << 3) + varint(0) if hash_key is not None else b""
        tag = chunk(4, chunk(1, b"tag"))
        body += chunk(3, index + explicit + chunk(3, user.data) + tag)
    return sealed(body)
