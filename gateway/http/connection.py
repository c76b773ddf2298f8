"""One connection: HTTP as uvicorn and httptools read it, cut off when it costs more than it may."""

import asyncio
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from core.config import Gateway
from gateway.http import head
from gateway.http.expectation import last_if_refused
from gateway.http.limits import RETRY_LATER
from gateway.http.places import PROBES, RESERVE_SECONDS, Places
from gateway.http.responses import refusal

HEAD_MAX = 32 * 1024
"""Bytes of a request besides its body: its line, headers, trailers."""
FRAMING = 8
"""Bytes of chunk framing allowed for each byte of a body: a chunk of one byte takes five."""


class _FullError(Exception):
    """There are too many connections for this request."""


class Connection(HttpToolsProtocol):
    """What a client sends must arrive in time and fit; else it gets a 4xx, or is just cut off.

    uvicorn leaves the length of heads and trailers and the time they take to its front; the
    kernel's TCP_USER_TIMEOUT, which the listener has, ends clients that do not read.
    """

    settings = Gateway()
    places = Places(settings.max_connections)
    probes: Collection[bytes] = ()

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.timeout_keep_alive = self.settings.keep_alive  # type: ignore[assignment]  # seconds
        self._overhead = 0
        self._head_is_read = False
        self._is_arriving = False
        self._is_beyond = False  # beyond max_connections: it may only ask whether we live
        self._last_words: bytes | None = None  # once the connection is to end
        self._running: RequestResponseCycle | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection; one of too many may not ask for much."""
        super().connection_made(transport)
        self._is_beyond = not self.places.has_room(self, len(self.connections))
        if not self._is_beyond:
            self.places.idle(self)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline, and the place."""
        self._arrived()
        self.places.busy(self)
        self.places.served(self)
        super().connection_lost(exc)

    def leave(self) -> None:
        """Close, as nothing is under way."""
        self.transport.close()

    def refuse(self) -> None:
        """Say that there are too many connections, and close."""
        limit = f"at most {self.settings.max_connections} connections (gateway.max_connections)"
        self._end(HTTPStatus.SERVICE_UNAVAILABLE, RETRY_LATER, limit)

    def data_received(self, data: bytes) -> None:
        """Parse `data`, and count what of it is no body."""
        if self._last_words is not None or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self.places.busy(self)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._refuse(error.__context__)
            return
        self._overhead = max(0, self._overhead + len(data))
        if self._overhead > HEAD_MAX:
            self._end(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._running is None or self._running.response_complete:
            self._expect()

    def _parse(self, data: bytes) -> None:
        """Parse `data`; a request that offers another protocol is parsed without the offer.

        llhttp takes what follows such an offer for the other protocol, and drops the body.
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
        """Refuse what cannot be parsed, for the reason that a callback of the parser gave."""
        if isinstance(reason, head.BadHead):
            self._end(reason.status, detail=reason.detail)
        elif isinstance(reason, _FullError):
            self.refuse()
        else:
            self._end(HTTPStatus.BAD_REQUEST)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: it gets the answer to what has arrived; True keeps open."""
        last = self._last_due()
        if self._is_arriving and self._last_words is None:
            self._end(HTTPStatus.BAD_REQUEST)
        elif last is not None:
            last.keep_alive = False
        return last is not None and self.scheme == "http"  # TLS knows no half of a connection

    def on_message_begin(self) -> None:
        """Begin a request: it must have arrived by its deadline."""
        super().on_message_begin()
        self._head_is_read = False
        self._is_arriving = True
        self._expect()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header, without the blanks around its value; a trailer is none."""
        if not self._head_is_read:
            super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """Begin to serve the request; one whose head is refused is stopped here at the latest."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > HEAD_MAX:
            raise head.BadHead(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "")
        method, version = self.parser.get_method(), self.parser.get_http_version()
        head.check(method, version, self.headers)
        target, authority = head.origin_form(method, self.url)
        if self.parser.should_upgrade():
            return
        if self._is_beyond and target.partition(b"?")[0].rstrip(b"/") not in self.probes:
            raise _FullError
        self.url = target
        if authority is not None:  # RFC 9112, 3.2.2: it stands for the Host header
            self.headers[:] = [(n, authority if n == b"host" else v) for n, v in self.headers]
        self.expect_100_continue &= version != "1.0"
        super().on_headers_complete()
        self._head_is_read = True

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the body."""
        self._overhead -= (1 + FRAMING) * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        if self.parser.should_upgrade():
            return
        self._overhead -= HEAD_MAX
        self._is_arriving = False
        self._arrived()
        self.cycle.keep_alive &= self.parser.should_keep_alive()  # llhttp heeds a trailer's close
        self.places.served(self)
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        cycle.keep_alive &= not self._is_beyond
        waits = cycle.waiting_for_100_continue
        super()._start_asgi_task(cycle, last_if_refused(cycle, app) if waits else app)

    def on_response_complete(self) -> None:
        """Go on with the next request, or end the connection if that is what comes next."""
        super().on_response_complete()
        is_last = self._last_words is not None and self._last_due() is None
        if is_last and not self.transport.is_closing():
            self._close()
        elif self.timeout_keep_alive_task is not None:
            self.places.idle(self)

    def _expect(self) -> None:
        if self._deadline is None:
            patience = self.settings.request_timeout
            seconds = min(patience, RESERVE_SECONDS) if self._is_beyond else patience
            self._deadline = self.loop.call_later(seconds, self._too_late)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._deadline = None
        if self._last_due() is not None:
            self._expect()  # the reading stands still until the answer is out
        elif self._is_beyond:
            self.refuse()
        elif not self.transport.is_closing():
            self._end(HTTPStatus.REQUEST_TIMEOUT)

    def _last_due(self) -> RequestResponseCycle | None:
        """The last request that has arrived and waits for its answer."""
        for cycle, _ in self.pipeline:  # the latest first
            if not (cycle.more_body or cycle.response_complete):
                return cycle
        last = self._running
        return None if last is None or last.more_body or last.response_complete else last

    def _end(
        self, status: HTTPStatus, headers: Mapping[str, str] | None = None, detail: str = ""
    ) -> None:
        """Answer `status` and close, as soon as the requests before have their answers."""
        answered = self._is_arriving and self._head_is_read and self.cycle.response_started
        self._last_words = b"" if answered else refusal(status, headers or {}, detail)
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        if self._last_due() is None:
            self._close()

    def _close(self) -> None:
        self.transport.write(self._last_words or b"")
        self.transport.close()


def _parser(connection: HttpToolsProtocol) -> httptools.HttpRequestParser:
    """A parser as uvicorn makes it."""
    parser = httptools.HttpRequestParser(connection)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def connections(settings: Gateway) -> type[Connection]:
    """The connections of a gateway with these settings."""
    stages = {"", f"/{settings.stage}".rstrip("/")}
    own = {
        "settings": settings,
        "places": Places(settings.max_connections),
        "probes": {f"{stage}{path}".encode() for stage in stages for path in PROBES},
    }
    return type("Connection", (Connection,), own)
