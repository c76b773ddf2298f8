"""Requests that are wrong in one way each: bytes, heads, lengths, chunks, bodies."""

import json
import random
from collections.abc import Callable

Make = Callable[[random.Random], bytes]
PATHS = ["/topics/t", "/test/topics/t", "/topics/t/partitions/0"]
STREAMS = ["/streams/s/records", "/test/streams/s/record"]
JSON = b"application/vnd.kafka.json.v2+json"
BINARY = b"application/vnd.kafka.binary.v2+json"
GOOD = b'{"records":[{"key":1,"value":{"index":1,"title":"x"}}]}'
WRONG_VALUES = [None, True, -1, 1.5, 2**70, "", "x", [], [1], {}, {"a": 1}]


def request(
    rng: random.Random,
    body: bytes = GOOD,
    *,
    head: bytes = b"",
    length: bytes | None = None,
    media: bytes = JSON,
    line: bytes | None = None,
) -> bytes:
    """Make a request that is valid but for the given parts."""
    first = line or b"POST " + rng.choice(PATHS).encode() + b" HTTP/1.1"
    size = str(len(body)).encode() if length is None else length
    sized = b"Content-Length: " + size + b"\r\n" if size else b""
    return (
        first
        + b"\r\nHost: localhost\r\nContent-Type: "
        + media
        + b"\r\n"
        + sized
        + head
        + b"\r\n"
        + body
    )


def noise(rng: random.Random) -> bytes:
    """Bytes that are nothing, ended as a line."""
    return b"\x00" + rng.randbytes(rng.randrange(1, 400)) + b"\r\n\r\n"


def line(rng: random.Random) -> bytes:
    """Make an invalid request line."""
    wrong = [
        b"POST /topics/t HTTP/9.9",
        b"POST /topics/t HTTP",
        b"P\xf6ST /topics/t HTTP/1.1",
        b"POST /topics/\xff\x01t HTTP/1.1",
        b"/topics/t",
        b"POST",
        b"PUT /topics/t HTTP/1.1",
        b"BREW /topics/t HTTP/1.1",
        b"POST /nowhere/%b HTTP/1.1" % rng.randbytes(4).hex().encode(),
        b"POST /topics/t/partitions/x HTTP/1.1",
        b"POST /topics/t/partitions/999999999999 HTTP/1.1",
        b"POST /topics/%2e%2e/%00 HTTP/1.1",
        b"POST //topics//t HTTP/1.1",
        b"GET /topics/" + b"y" * 40_000 + b" HTTP/1.1",
    ]
    return request(rng, line=rng.choice(wrong))


def header(rng: random.Random) -> bytes:
    """Make an invalid header."""
    wrong = [
        b"No Colon Here\r\n",
        b": no name\r\n",
        b"Na\x00me: x\r\n",
        b"Bad Name: x\r\n",
        b"X: a\x00b\r\n",
        b" folded: x\r\n",
        b"X-Long: " + b"x" * 40_000 + b"\r\n",
        b"X: y\r\n" * 8_000,
        b"Accept: text/html;q=0.5, image/*\r\n",
        b"Accept: application/json;q=0\r\n",
        b"Idempotency-Key: two words\r\n",
        b"Idempotency-Key: " + b"k" * 300 + b"\r\n",
        b"Idempotency-Key: k\r\nIdempotency-Scope: another\r\n",
    ]
    return request(rng, head=rng.choice(wrong))


def media(rng: random.Random) -> bytes:
    """Make a content type that the route does not accept."""
    wrong = [
        b"text/plain",
        b"application/vnd.kafka.avro.v2+json",
        b"\xff/\xfe",
        b"json",
        b"a/b;c=d",
    ]
    return request(rng, media=rng.choice(wrong))


def length(rng: random.Random) -> bytes:
    """Make an invalid length, or one that is not the body's; the client sends no more."""
    wrong = [b"-1", b"x", b"1e3", b"0x10", b"+5", b"1, 2", b"99999999999999999999", b" ", b"\xb2"]
    wrong += [str(len(GOOD) + rng.randrange(1, 9999)).encode(), str(rng.randrange(1, 50)).encode()]
    wrong += [str(11 * 1024 * 1024).encode()]
    heads = [b"", b"Content-Length: 7\r\n", b"Transfer-Encoding: chunked\r\n"]
    if rng.random() < 0.2:
        return request(rng, head=b"Content-Length: 7\r\n")
    return request(rng, length=rng.choice(wrong), head=rng.choice(heads))


def chunks(rng: random.Random) -> bytes:
    """Make invalid chunks."""
    wrong = [
        b"zz\r\n" + GOOD,
        b"-5\r\n" + GOOD,
        b"ffffffffffffffffff\r\n" + GOOD,
        b"5\r\n" + GOOD + b"\r\n0\r\n\r\n",
        b"5" + GOOD,
        b"%x\r\n" % len(GOOD) + GOOD + b"xx0\r\n\r\n",
        b"%x\r\n" % (len(GOOD) + 9) + GOOD,
        b"1;" + b"e" * 40_000,
        b"0\r\nTrailer: " + b"t" * 40_000,
        b"0\r\n\r\n",
    ]
    codings = [
        b"chunked",
        b"chunked, chunked",
        b"gzip",
        b"identity",
        b"chunked, gzip",
        b"\x0bchunked",
    ]
    head = b"Transfer-Encoding: " + rng.choice([*codings, *[b"chunked"] * 5]) + b"\r\n"
    return request(rng, rng.choice(wrong), head=head, length=b"")


def body(rng: random.Random) -> bytes:
    """Make a body without valid records."""
    cut = GOOD[: rng.randrange(len(GOOD) - 1)]
    broken = bytearray(GOOD)
    broken[rng.randrange(len(GOOD) - 1)] = rng.choice(b"\x00\x01\x1f\xff\xc0\xe2")
    tree = {"records": [{"value": 1, rng.choice(["vaule", "Key", "partitions"]): 1}]}
    wrong = [
        cut,
        bytes(broken),
        b"[" * rng.randrange(1, 100_000),
        b'{"records":[{"value":' + b'{"a":' * rng.randrange(2000, 20_000) + b"1",
        b'{"records":[{"value":"\\ud800"}]}',
        json.dumps(tree).encode(),
        json.dumps({"records": rng.choice(WRONG_VALUES)}).encode(),
        json.dumps(
            {"records": [{"partition": rng.choice([-1, "0", 2**31, 1.5, [], {}])}]}
        ).encode(),
        json.dumps(rng.choice(WRONG_VALUES)).encode(),
        b'{"records":[{"value":NaN}]}',
    ]
    return request(rng, rng.choice(wrong))


def base64(rng: random.Random) -> bytes:
    """Make a binary value that is not base64."""
    value = rng.choice([1, True, {}, [], "x", "YQ", "YWJj=", "Y Q==", "YQ==\n", "é", "_-=="])
    return request(rng, json.dumps({"records": [{"value": value}]}).encode(), media=BINARY)


def stream(rng: random.Random) -> bytes:
    """Make invalid records for Kinesis."""
    path = rng.choice(STREAMS).encode()
    name = rng.choice(["records", "Data", "PartitionKey", "x"])
    tree = {name: rng.choice(WRONG_VALUES), "PartitionKey": rng.choice(["", None, [], "k" * 257])}
    first = b"PUT " + path + b" HTTP/1.1"
    return request(rng, json.dumps(tree).encode(), line=first, media=b"application/json")


KINDS: list[Make] = [noise, line, header, media, length, chunks, body, base64, stream]
