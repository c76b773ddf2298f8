"""Requests whose framing two parsers might read differently, pipelined and cut into segments."""

import random
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

Write = Callable[[random.Random, bytes], tuple[bytes, bytes]]
"""A body to its framing headers (each with its line end) and its bytes on the wire."""

SMUGGLED = b"POST /smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nxyz"
BODIES = [b"", b"a", b'{"records":[{"value":1}]}', SMUGGLED, b"0\r\n\r\n" + SMUGGLED, b"x" * 300]
METHODS = [b"POST"] * 20 + [b"GET", b"PUT", b"DELETE", b"OPTIONS", b"HEAD", b"CONNECT"]
TARGETS = [b"/a"] * 40 + [b"/a/b?c=d&e", b"//x//y", b"/%2e%2e/", b"*", b"http://g", b"http://g/p?q"]
TARGETS += [b"http://a:99999/health", b"http://[::1/health", b"x:80", b"", b"/a b", b"/a#b"]
VERSIONS = [b"HTTP/1.1"] * 60 + [b"HTTP/1.0"] * 2 + [b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP"]
HOSTS = [b"Host: localhost\r\n"] * 60 + [
    b"",
    b"Host: localhost\r\nHost: localhost\r\n",
    b"Host:\r\n",
    b"Host: a b\r\n",
]
HOSTS += [b"host: G:8082\r\n", b"Host: [::1]:8082\r\n", b"Host : g\r\n", b"Host: g, h\r\n"]
UPGRADES = [b"h2c", b"websocket", b"TLS/1.2", b"h2c, websocket", b"", b"HTTP/2.0"]
CONNECTIONS = [b"Upgrade", b"upgrade", b"Upgrade, HTTP2-Settings", b"keep-alive, Upgrade"]
CONNECTIONS += [b"close", b"keep-alive", b"close, Upgrade", b"Content-Length", b"x, ,y", b""]
CODINGS = [b"chunked", b"Chunked", b" chunked ", b"\tchunked", b"\x0bchunked", b"chunked, chunked"]
CODINGS += [
    b"gzip, chunked",
    b"chunked, gzip",
    b"gzip",
    b"identity",
    b"xchunked",
    b"",
    b"chunked;a",
]
LENGTHS = [
    b"+%d",
    b"-%d",
    b"0x%x",
    b"%d, %d",
    b"%d ",
    b" %d",
    b"0%d",
    b"%d.0",
    b"",
    b"9%d",
    b"%d\x00",
]
SIZES = [b"%x"] * 400 + [b"%X", b"0%x", b"0x%x", b"+%x", b"%x0", b" %x"]
ENDS = [b"\r\n"] * 400 + [b"\n", b";a=b\r\n", b';a="\r\n"\r\n', b" \r\n", b";\r\n", b"\r"]
ENDS += [b"\r\n\r\n"]
TRAILERS = [b""] * 6 + [b"X: y\r\n", b"Content-Length: 9\r\n", b"Connection: close\r\n"]
TRAILERS += [b"Upgrade: h2c\r\nConnection: Upgrade\r\n", b"Transfer-Encoding: chunked\r\n"]
ODD = [
    b"Expect: 100-continue\r\n",
    b"Expect: nothing\r\n",
    b"TE: trailers\r\n",
    b"Trailer: Content-Length\r\n",
    b"X-Blank: \t a \t \r\n",
    b"X-Folded: a\r\n b\r\n",
    b"X-Bare: a\nContent-Length: 7\r\n",
    b"X-Return: a\rContent-Length: 7\r\n",
    b"X-Null: a\x00b\r\n",
    b"X Blank: a\r\n",
    b"X-None\r\n",
    b": none\r\n",
    b"Content_Length: 7\r\n",
    b"Proxy-Connection: close\r\n",
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    b"Keep-Alive: timeout=0\r\n",
    b"Upgrade: h2c\r\n",
]


class Case(NamedTuple):
    """What one client sends, and the segments that it arrives in."""

    stream: bytes
    segments: list[bytes]


def case(seed: int) -> Case:
    """Make the case of this seed: 1 to 4 requests, perhaps damaged, in one or more segments."""
    rng = random.Random(seed)
    stream = b"".join(_request(rng) for _ in range(rng.choice([1, 1, 2, 3, 4])))
    if rng.random() < 0.15:
        stream = _damaged(rng, stream)
    return Case(stream, _segments(rng, stream))


def _request(rng: random.Random) -> bytes:
    body = rng.choice(BODIES)
    method = rng.choice(METHODS)
    framing, wire = _framed(rng, body)
    lines = [rng.choice(HOSTS), framing, *_more(rng)]
    rng.shuffle(lines)
    blanks = b"\r\n" if rng.random() < 0.03 else b""
    first = b"%b %b %b\r\n" % (method, rng.choice(TARGETS), rng.choice(VERSIONS))
    return blanks + first + b"".join(lines) + b"\r\n" + wire


def _more(rng: random.Random) -> list[bytes]:
    lines = []
    if rng.random() < 0.4:
        lines.append(b"Upgrade: %b\r\n" % rng.choice(UPGRADES))
    if rng.random() < 0.5:
        lines.append(b"Connection: %b\r\n" % rng.choice(CONNECTIONS))
    if rng.random() < 0.2:
        lines.append(rng.choice(ODD))
    if rng.random() < 0.05:
        lines.append(_doubled(rng))
    return lines


def _doubled(rng: random.Random) -> bytes:
    """Add a second header that frames a body."""
    return rng.choice([b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"])


def _framed(rng: random.Random, body: bytes) -> tuple[bytes, bytes]:
    write: Write = rng.choice([_sized] * 8 + [_chunked] * 5 + [_none] * 2 + [_odd_length])
    return write(rng, body)


def _none(_rng: random.Random, body: bytes) -> tuple[bytes, bytes]:
    return b"", body if body == SMUGGLED else b""


def _sized(_rng: random.Random, body: bytes) -> tuple[bytes, bytes]:
    return b"Content-Length: %d\r\n" % len(body), body


def _odd_length(rng: random.Random, body: bytes) -> tuple[bytes, bytes]:
    form = rng.choice(LENGTHS)
    text = form % ((len(body),) * form.count(b"%"))
    return b"Content-Length: " + text + b"\r\n", body


def _chunked(rng: random.Random, body: bytes) -> tuple[bytes, bytes]:
    coding = rng.choice([b"chunked"] * 40 + CODINGS)
    return b"Transfer-Encoding: " + coding + b"\r\n", _chunks(rng, body)


def _chunks(rng: random.Random, body: bytes) -> bytes:
    step = rng.choice([1, 7, 1000])
    parts = []
    for start in range(0, len(body), step):
        part = body[start : start + step]
        ends = rng.choice(ENDS), rng.choice(ENDS)
        parts.append(rng.choice(SIZES) % len(part) + ends[0] + part + ends[1])
    return b"".join(parts) + b"0" + rng.choice(ENDS) + rng.choice(TRAILERS) + b"\r\n"


def _damaged(rng: random.Random, stream: bytes) -> bytes:
    at = rng.randrange(len(stream))
    put = rng.choice([b"", b"\r", b"\n", b"\r\n", b" ", b"\t", b"\x00", b":", b"0", b"\xff"])
    return stream[:at] + put + stream[at + rng.choice([0, 1, 1, 2]) :]


def _segments(rng: random.Random, stream: bytes) -> list[bytes]:
    """`stream` in pieces; a head and its body often arrive apart."""
    cuts = {rng.randrange(1, len(stream)) for _ in range(rng.choice([0, 0, 1, 2, 5]))}
    if rng.random() < 0.5:
        at = stream.find(b"\r\n\r\n")
        cuts |= {at + 4} if 0 < at + 4 < len(stream) else set()
    if rng.random() < 0.03:
        cuts = set(range(1, len(stream)))
    edges = [0, *sorted(cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]
