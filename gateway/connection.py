"""One connection: HTTP as uvicorn and httptools read it, cut off when it costs more than it may."""

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gateway.limits import RETRY_LATER
from pinpip.config import Gateway

HEAD_MAX = 32 * 1024
"""Bytes of a request besides its body: its line, headers, trailers."""
FRAMING = 8
"""Bytes of chunk framing allowed for each byte of a body: a chunk of one byte takes five."""


class _HeadTooLongError(Exception):
    """The head of a request that has arrived is longer than HEAD_MAX."""


class Connection(HttpToolsProtocol):
    """What a client sends must arrive in time and fit; else it gets a 4xx, or is just cut off.

    uvicorn leaves the length of heads and trailers and the time they take to its front; the
    kernel's TCP_USER_TIMEOUT, which the listener has, ends clients that do not read.
    """

    settings = Gateway()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._overhead = 0
        self._head_is_read = False
        self._is_arriving = False
        self._is_ending = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or say 503 when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.settings.max_connections:
            self._end(503, RETRY_LATER)
        else:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse `data`, and count what of it is no body."""
        if self._is_ending or self.transport.is_closing():
            return
        super().data_received(data)
        self._overhead = max(0, self._overhead + len(data))
        if self._overhead > HEAD_MAX and not self._is_ending:
            self._end(431)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: it gets the answer to what has arrived; True keeps open."""
        if self._is_arriving:
            self._end(400)
        if self._is_served() and not self.pipeline:
            self.cycle.keep_alive = False
            return self.scheme == "http"  # TLS knows no half of a connection
        return False

    def on_message_begin(self) -> None:
        """Begin a request: it must have arrived by its deadline."""
        super().on_message_begin()
        self._head_is_read = False
        self._is_arriving = True
        self._expect()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header; a trailer is none."""
        if not self._head_is_read:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to serve the request; one whose head is too long is stopped here at the latest."""
        head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head > HEAD_MAX:
            raise _HeadTooLongError
        self._head_is_read = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the body."""
        self._overhead -= (1 + FRAMING) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        self._overhead -= HEAD_MAX
        self._is_arriving = False
        self._arrived()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Say 400 as everywhere else in the gateway; the parser's error is the one in hand."""
        del msg
        error = sys.exception()
        too_long = error is not None and isinstance(error.__context__, _HeadTooLongError)
        self._end(431 if too_long else 400)

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.settings.request_timeout, self._too_late)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self.pipeline or self._is_served():
            self._expect()  # the reading stands still until the answer is out
        elif not self.transport.is_closing():
            self._end(408)

    def _is_served(self) -> bool:
        """Whether the last request whose head was read has arrived, and waits for its answer."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first
        return cycle is not None and not (cycle.more_body or cycle.response_complete)

    def _end(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        """Answer `status` and close; an earlier request gets its own answer, and nothing else."""
        self._is_ending = True
        if self._is_served() and not self.pipeline:
            self.cycle.keep_alive = False
            return
        if not self.pipeline and not (self._head_is_read and self.cycle.response_started):
            self.transport.write(_answer(status, headers or {}))
        self.transport.close()


def _answer(status: int, headers: Mapping[str, str]) -> bytes:
    line = STATUS_LINE[status]
    message = "HTTP " + line[9:-2].decode()
    body = json.dumps({"error_code": status, "message": message}, separators=(",", ":")).encode()
    named = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return line + head.encode() + b"\r\n" + body


def connections(settings: Gateway) -> type[asyncio.Protocol]:
    """The connections of a gateway with these settings."""
    return type("Connection", (Connection,), {"settings": settings})
