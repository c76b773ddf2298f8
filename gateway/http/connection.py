"""HTTP connections: parsed by uvicorn and httptools, limited in number, in size and in time."""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any, Protocol

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from core.config import Gateway
from gateway.http import head
from gateway.http.expectation import last_if_refused
from gateway.http.responses import RETRY_LATER, closing_response

MAX_HEAD = 32 * 1024
"""Bytes of a request besides its body: its line, headers, trailers."""
MAX_FRAMING = 8
"""Bytes of chunk framing allowed for each byte of a body: a chunk of one byte takes five."""
PROBES = ("/health", "/metrics")
"""Routes that are served beyond the connection limit; their responses come from memory."""
RESERVE = 20
"""Connections beyond the limit, for probes: a liveness probe must not depend on the load."""
RESERVE_TIMEOUT_S = 2.0
"""How long a connection beyond the limit may take to send its request."""


class Closable(Protocol):
    """A connection as ConnectionLimit sees it."""

    def close_idle(self) -> None:
        """Close the connection; it has no request in progress."""
        ...

    def refuse(self) -> None:
        """Respond that there are too many connections, and close."""
        ...


class ConnectionLimit:
    """At most `limit` connections of one gateway, and RESERVE beyond it.

    At the limit a new connection replaces the one that has been idle for longest: it has no
    request in progress, or has sent nothing yet.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: OrderedDict[Closable, None] = OrderedDict()
        self._reserve: OrderedDict[Closable, None] = OrderedDict()

    def admits(self, connection: Closable, connections: int) -> bool:
        """Whether the new `connection` may send any request; otherwise only probes.

        `connections`: how many there are, with the new one.
        """
        if connections <= self._limit:
            return True
        if self._idle:
            self._idle.popitem(last=False)[0].close_idle()
            return True
        self._reserve[connection] = None
        if len(self._reserve) > RESERVE:
            self._reserve.popitem(last=False)[0].refuse()
        return False

    def set_idle(self, connection: Closable) -> None:
        """Note that `connection` has no request in progress."""
        self._idle[connection] = None

    def set_busy(self, connection: Closable) -> None:
        """Note that `connection` sends a request, or is closed."""
        self._idle.pop(connection, None)

    def leave_reserve(self, connection: Closable) -> None:
        """Note that the request of a `connection` beyond the limit arrived, or that it closed."""
        self._reserve.pop(connection, None)


class _FullError(Exception):
    """There are too many connections for this request."""


class HttpConnection(HttpToolsProtocol):
    """One connection; a request that is too long or too slow gets a 4xx and ends the connection.

    uvicorn leaves limits of the size and time of heads and trailers to a reverse proxy. The
    listener's TCP_USER_TIMEOUT ends connections of clients that do not read their response.
    """

    settings = Gateway()
    limit = ConnectionLimit(settings.max_connections)
    probes: Collection[bytes] = ()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.timeout_keep_alive = self.settings.keep_alive  # type: ignore[assignment]  # seconds
        self._overhead = 0
        self._head_is_read = False
        self._is_arriving = False
        self._is_beyond = False  # beyond max_connections: only probes are served
        self._last_response: bytes | None = None  # set when the connection is to end
        self._running: RequestResponseCycle | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, within the limit or beyond it."""
        super().connection_made(transport)
        self._is_beyond = not self.limit.admits(self, len(self.connections))
        if not self._is_beyond:
            self.limit.set_idle(self)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline and leave the connection limit."""
        self._cancel_deadline()
        self.limit.set_busy(self)
        self.limit.leave_reserve(self)
        super().connection_lost(exc)

    def close_idle(self) -> None:
        """Close the connection; it has no request in progress."""
        self.transport.close()

    def refuse(self) -> None:
        """Respond that there are too many connections, and close."""
        limit = f"at most {self.settings.max_connections} connections (gateway.max_connections)"
        self._end(HTTPStatus.SERVICE_UNAVAILABLE, RETRY_LATER, limit)

    def data_received(self, data: bytes) -> None:
        """Parse `data`, and count the bytes that do not belong to a body."""
        if self._last_response is not None or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.limit.set_busy(self)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._refuse(error.__context__)
            return
        self._overhead = max(0, self._overhead + len(data))
        if self._overhead > MAX_HEAD:
            self._end(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._running is None or self._running.response_complete:
            self._set_deadline()

    def _parse(self, data: bytes) -> None:
        """Parse `data`; the Upgrade header of a request is removed.

        After an Upgrade header llhttp treats the rest as the other protocol and drops the body.
        """
        rest = memoryview(data)
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offered:
                rest = rest[offered.args[0] :]
                version = self.parser.get_http_version()
                method = self.parser.get_method()
                self.parser = _parser(self)
                self.parser.feed_data(head.without_upgrade(method, self.url, version, self.headers))
            else:
                return

    def _refuse(self, reason: BaseException | None) -> None:
        """Refuse what cannot be parsed; `reason` is what a callback of the parser raised."""
        if isinstance(reason, head.BadHead):
            self._end(reason.status, detail=reason.detail)
        elif isinstance(reason, _FullError):
            self.refuse()
        else:
            self._end(HTTPStatus.BAD_REQUEST)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Respond to the requests that have arrived; True keeps the connection open for that."""
        last = self._last_pending()
        if self._is_arriving and self._last_response is None:
            self._end(HTTPStatus.BAD_REQUEST)
        elif last is not None:
            last.keep_alive = False
        return last is not None and self.scheme == "http"  # TLS has no half-closed connections

    def on_message_begin(self) -> None:
        """Begin a request and set its deadline."""
        super().on_message_begin()
        self._head_is_read = False
        self._is_arriving = True
        self._set_deadline()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header without the whitespace around its value; trailers are ignored."""
        if not self._head_is_read:
            super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """Check the head, then start to serve the request."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD:
            raise head.BadHead(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "")
        method, version = self.parser.get_method(), self.parser.get_http_version()
        head.check(method, version, self.headers)
        target, authority = head.origin_form(method, self.url)
        if self.parser.should_upgrade():
            return
        if self._is_beyond and target.partition(b"?")[0].rstrip(b"/") not in self.probes:
            raise _FullError
        self.url = target
        if authority is not None:  # RFC 9112, 3.2.2: it replaces the Host header
            self.headers[:] = [(n, authority if n == b"host" else v) for n, v in self.headers]
        self.expect_100_continue &= version != "1.0"
        super().on_headers_complete()
        self._head_is_read = True

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        self._overhead -= (1 + MAX_FRAMING) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request has arrived completely."""
        if self.parser.should_upgrade():
            return
        self._overhead -= MAX_HEAD
        self._is_arriving = False
        self._cancel_deadline()
        self.cycle.keep_alive &= self.parser.should_keep_alive()  # a trailer may say close
        self.limit.leave_reserve(self)
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        cycle.keep_alive &= not self._is_beyond
        waits = cycle.waiting_for_100_continue
        super()._start_asgi_task(cycle, last_if_refused(cycle, app) if waits else app)

    def on_response_complete(self) -> None:
        """Continue with the next request, or end the connection after the last response."""
        super().on_response_complete()
        is_last = self._last_response is not None and self._last_pending() is None
        if is_last and not self.transport.is_closing():
            self._close()
        elif self.timeout_keep_alive_task is not None:
            self.limit.set_idle(self)

    def _set_deadline(self) -> None:
        if self._deadline is None:
            timeout = self.settings.request_timeout
            seconds = min(timeout, RESERVE_TIMEOUT_S) if self._is_beyond else timeout
            self._deadline = self.loop.call_later(seconds, self._expire)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if self._last_pending() is not None:
            self._set_deadline()  # reading is paused until the response is written
        elif self._is_beyond:
            self.refuse()
        elif not self.transport.is_closing():
            self._end(HTTPStatus.REQUEST_TIMEOUT)

    def _last_pending(self) -> RequestResponseCycle | None:
        """Return the last request that has arrived and has no complete response."""
        for cycle, _ in self.pipeline:  # the latest first
            if not (cycle.more_body or cycle.response_complete):
                return cycle
        last = self._running
        return None if last is None or last.more_body or last.response_complete else last

    def _end(
        self, status: HTTPStatus, headers: Mapping[str, str] | None = None, detail: str = ""
    ) -> None:
        """Respond with `status` and close, after the responses to earlier requests."""
        answered = self._is_arriving and self._head_is_read and self.cycle.response_started
        self._last_response = b"" if answered else closing_response(status, headers or {}, detail)
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        if self._last_pending() is None:
            self._close()

    def _close(self) -> None:
        self.transport.write(self._last_response or b"")
        self.transport.close()


def _parser(connection: HttpToolsProtocol) -> httptools.HttpRequestParser:
    """Return a parser with uvicorn's settings."""
    parser = httptools.HttpRequestParser(connection)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
