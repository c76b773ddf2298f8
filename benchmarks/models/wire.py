"""HTTP/1.1 for the models: parsed by httptools, one request at a time on each connection."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qsl, unquote

import httptools
import uvloop

Headers = Mapping[str, str]
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True)
class Request:
    """A whole request; the path is decoded, and the names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Headers
    body: bytes


@dataclass(frozen=True)
class Response:
    """A whole response. `length`: the Content-Length of a response to HEAD, which has no body."""

    status: int = HTTPStatus.OK
    body: bytes = b""
    headers: Headers = field(default_factory=dict)
    length: int | None = None


@dataclass(frozen=True)
class Work:
    """What a request causes after `delay` seconds, also when its connection ends before."""

    delay: float
    act: Callable[[], Response]


Handler = Callable[[Request], Work]


def as_json(tree: object) -> Response:
    """Return `tree` as JSON."""
    return Response(body=json.dumps(tree).encode(), headers={"Content-Type": "application/json"})


class Connection(asyncio.Protocol):
    """One connection; httptools calls the `on_…` methods."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._parser = httptools.HttpRequestParser(self)
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        """Parse; close the connection of a client that does not speak HTTP."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        """Add a part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Ask for the body: boto3 waits a second for that before it sends one."""
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Do the request's work after its delay."""
        url = httptools.parse_url(self._url)
        query = dict(parse_qsl((url.query or b"").decode(), keep_blank_values=True))
        request = Request(
            self._parser.get_method().decode(),
            unquote((url.path or b"/").decode("latin-1")),
            query,
            self._headers,
            b"".join(self._body),
        )
        keep_alive = self._parser.should_keep_alive()
        self._reset()
        work = self._handler(request)
        if work.delay > 0:
            loop = asyncio.get_running_loop()
            loop.call_later(work.delay, self._finish, work, request.method, keep_alive)
        else:
            self._finish(work, request.method, keep_alive)

    def _finish(self, work: Work, method: str, keep_alive: bool) -> None:
        response = work.act()
        if self._transport.is_closing():
            return
        body = b"" if method == "HEAD" else response.body
        self._transport.writelines([_head(response), body] if body else [_head(response)])
        if not keep_alive:
            self._transport.close()


def _head(response: Response) -> bytes:
    length = len(response.body) if response.length is None else response.length
    lines = [f"HTTP/1.1 {response.status} {_PHRASES[response.status]}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def serve(handler: Handler, port: int) -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    uvloop.run(_serve(handler, port))


async def _serve(handler: Handler, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(handler), "127.0.0.1", port, backlog=512)
    async with server:
        await server.serve_forever()
