"""HTTP/1.1 messages as sent on the wire: read completely, written back unchanged."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus

BUFFER = 1 << 20  # bytes: a head must fit; larger bodies pause the reader
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Message:
    """A request or a response; the body keeps its framing."""

    start: str
    lines: tuple[str, ...]
    body: bytes = b""

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """The header values by lower-case name."""
        pairs = (line.partition(":") for line in self.lines)
        return {name.lower(): value.strip() for name, _, value in pairs}

    @property
    def method(self) -> str:
        """The method of a request."""
        return self.start.split(" ")[0]

    @property
    def path(self) -> str:
        """The path of a request, with its query."""
        return self.start.split(" ")[1]

    @property
    def ok(self) -> bool:
        """Whether a response has a 2xx status."""
        return self.start.split(" ")[1].startswith("2")

    def encoded(self) -> bytes:
        """Return the bytes on the wire."""
        return "\r\n".join([self.start, *self.lines, "", ""]).encode("latin-1") + self.body

    def without(self, *names: str) -> tuple[str, ...]:
        """Return the header lines except those of these names."""
        return tuple(ln for ln in self.lines if ln.partition(":")[0].lower() not in names)


def message(status: HTTPStatus, kind: str, text: str) -> Message:
    """Build a response of the proxy itself."""
    body = text.encode()
    lines = (f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    return Message(f"HTTP/1.1 {status} {status.phrase}", lines, body)


def is_framed(request: Message, response: Message) -> bool:
    """Return whether the client can find the response's end on an open connection."""
    return request.method == "HEAD" or bool(
        {"content-length", "transfer-encoding"} & set(response.headers)
    )


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message:
    """Read the next request with its body."""
    head = await read_head(reader)
    if head.headers.get("expect", "").lower() == "100-continue":
        writer.write(_CONTINUE)
    if head.headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(head.headers.get("content-length", "0")))
    return Message(head.start, head.lines, body)


async def read_head(reader: asyncio.StreamReader) -> Message:
    """Read a message's head; its body follows in `reader`."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    start, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
    return Message(start, tuple(lines))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """Read a chunked body with its framing and trailers."""
    body = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        body += size
        if not int(size.partition(b";")[0], 16):
            break
        body += await reader.readexactly(int(size.partition(b";")[0], 16) + 2)
    while (trailer := await reader.readuntil(b"\r\n")) != b"\r\n":
        body += trailer
    return body + b"\r\n"
