"""Records that no client library would send, put to Kafka by the bare protocol.

Source: Kafka protocol guide, "Record Batch" (magic 2) and Produce request, version 3.
"""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_TIMEOUT = 10.0
_CASTAGNOLI = 0x82F63B78


@dataclass(frozen=True)
class Raw:
    """One record; header keys and the timestamp (ms) are sent as they are."""

    value: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    timestamp: int = 1_700_000_000_000


def produce_raw(bootstrap: str, topic: str, records: Sequence[Raw]) -> None:
    """Store `records` in partition 0 of `topic`, whose leader must be the broker at `bootstrap`."""
    host, _, port = bootstrap.partition(":")
    with socket.create_connection((host, int(port)), _TIMEOUT) as connection:
        connection.sendall(_sized(_request(topic.encode(), _batch(records))))
        with connection.makefile("rb") as answer:
            body = answer.read(struct.unpack(">i", answer.read(4))[0])
    # correlation id, one topic, its name, one partition, its number, the error code
    (code,) = struct.unpack_from(">h", body, 4 + 4 + 2 + len(topic) + 4 + 4)
    if code:
        raise ConnectionError(f"the broker refused the records: error {code}")


def _request(topic: bytes, batch: bytes) -> bytes:
    header = struct.pack(">hhih", 0, 3, 1, -1)  # Produce v3, correlation id, no client id
    ask = struct.pack(">hhi", -1, -1, int(_TIMEOUT * 1000))  # no transaction, all replicas
    name = struct.pack(">ih", 1, len(topic)) + topic
    return header + ask + name + struct.pack(">ii", 1, 0) + _sized(batch)


def _batch(records: Sequence[Raw]) -> bytes:
    base = records[0].timestamp
    body = struct.pack(
        ">hiqqqhii",
        *(0, len(records) - 1, base, max(record.timestamp for record in records)),
        *(-1, -1, -1, len(records)),
    ) + b"".join(_record(n, record, base) for n, record in enumerate(records))
    checked = struct.pack(">I", _crc32c(body)) + body
    rest = struct.pack(">ib", -1, 2) + checked  # leader epoch, magic
    return struct.pack(">q", 0) + _sized(rest)


def _record(n: int, record: Raw, base: int) -> bytes:
    headers = b"".join(_text(key) + _text(value) for key, value in record.headers)
    body = b"\0" + _varint(record.timestamp - base) + _varint(n) + _varint(-1)
    body += _text(record.value) + _varint(len(record.headers)) + headers
    return _varint(len(body)) + body


def _text(value: bytes) -> bytes:
    return _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Zigzag."""
    rest, out = (value << 1) ^ (value >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def _sized(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CASTAGNOLI if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
