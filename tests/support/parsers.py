"""Two readers of HTTP side by side: the gateway's connection, and h11."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import h11
import uvicorn
from uvicorn.server import ServerState

from core.config import Gateway
from gateway.server import connections

_ABSOLUTE = re.compile(rb"^https?://[^/?]*", re.IGNORECASE)
_BLANKS = re.compile(rb"^(\S+) +(\S+) +(HTTP/\d\.\d\r\n)")


class Seen(NamedTuple):
    """A request as its server acts on it."""

    method: bytes
    target: bytes
    body: bytes


class ParserOutcome(NamedTuple):
    """What a connection came to: requests served, statuses answered, whether an end was said."""

    requests: list[Seen]
    statuses: list[int]
    says_close: bool


class _Wire(asyncio.Transport):
    """A transport in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_closed = False
        self.is_paused = False

    def write(self, data: Any) -> None:
        assert not self.is_closed, "written after the end"
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class Ours:
    """The gateway's connection over an application that notes what it is asked."""

    def __init__(self) -> None:
        self._config = uvicorn.Config(
            self._app, interface="asgi3", ws="none", log_config=None, proxy_headers=False
        )
        self._config.load()
        self._made = connections(Gateway())
        self._seen: list[Seen] = []

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        else:
            return  # cut off: nothing is served
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        self._seen.append(Seen(scope["method"].encode(), target, body))
        head = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"0")],
        }
        await send(head)
        await send({"type": "http.response.body", "body": b""})

    async def read(self, segments: Sequence[bytes]) -> ParserOutcome:
        """Feed `segments` and an end of file to a new connection; return the outcome."""
        self._seen, wire, state = [], _Wire(), ServerState()
        connection: Any = self._made(config=self._config, server_state=state, app_state={})
        connection.connection_made(wire)
        for segment in segments:
            if not wire.is_closed:
                connection.data_received(segment)
                await _answered(connection, wire)
        if not wire.is_closed and not connection.eof_received():
            wire.close()
        await _answered(connection, wire)
        connection.connection_lost(None)
        await asyncio.gather(*state.tasks)
        written = bytes(wire.written)
        return ParserOutcome(
            self._seen, _statuses(written), b"\r\nconnection: close\r\n" in written
        )


async def _answered(connection: Any, wire: _Wire) -> None:
    """Wait until every request that has arrived has its answer."""
    while not wire.is_closed and connection._last_pending():  # noqa: ASYNC110  # uvicorn has no event
        await asyncio.sleep(0)


def _statuses(written: bytes) -> list[int]:
    lines = [line for line in written.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    return [int(line[9:12]) for line in lines if not line.startswith(b"HTTP/1.1 1")]


def h11_reads(stream: bytes) -> list[Seen]:
    """Return the requests that h11 finds in `stream`; it refuses every upgrade."""
    seen: list[Seen] = []
    rest: bytes | None = stream
    while rest:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(_as_h11_wants_it(rest))
        connection.receive_data(b"")
        try:
            request = _h11_request(connection)
        except h11.RemoteProtocolError:
            break
        if request is None:
            break
        seen.append(request)
        rest = _after(connection)
    return seen


def _as_h11_wants_it(stream: bytes) -> bytes:
    """`stream` without what RFC 9112 lets a server accept and h11 does not.

    Empty lines before a request (2.2), more than one blank between the words of its line (3).
    """
    return _BLANKS.sub(rb"\1 \2 \3", stream.lstrip(b"\r\n"))


def _h11_request(connection: h11.Connection) -> Seen | None:
    event, body = connection.next_event(), b""
    if not isinstance(event, h11.Request):
        return None
    while isinstance(part := connection.next_event(), h11.Data):
        body += bytes(part.data)
    complete = isinstance(part, h11.EndOfMessage)
    return Seen(event.method, _origin_form(event.target), body) if complete else None


def _origin_form(target: bytes) -> bytes:
    """`target` without the scheme and the authority that it may have."""
    rest = _ABSOLUTE.sub(b"", target)
    return rest if rest.startswith(b"/") or rest == target else b"/" + rest


def _after(connection: h11.Connection) -> bytes | None:
    """Return the bytes after the request; None when it is the connection's last."""
    connection.send(h11.Response(status_code=400, headers=[("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    return connection.trailing_data[0] if connection.our_state is h11.DONE else None
