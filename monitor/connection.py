"""One HTTP connection: uvicorn's, with a bound on how many there are and how slow each may be."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MAX_CONNECTIONS = 64
"""A further connection replaces the oldest: a probe gets in, whoever else holds connections."""
REQUEST_S = 5.0
"""A connection that has neither begun nor finished a request for so long is closed."""
MAX_HEAD = 16 * 1024  # bytes of a request's line and headers


class Connection(H11Protocol):
    """A connection of a few programs and browsers: a slow or idle one is closed.

    uvicorn itself waits for ever for a request's head, and beyond its limit refuses everybody. The
    listener's TCP_USER_TIMEOUT ends connections of clients that do not read their response.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection in place of the oldest one beyond the limit."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._seen: object = None
        self._watch = self.loop.call_later(REQUEST_S, self._look)
        if len(self.connections) > MAX_CONNECTIONS:
            oldest = self._oldest()
            self.connections.discard(oldest)  # at once: more connections may come in this turn
            oldest.transport.abort()

    def _oldest(self) -> "Connection":
        known = [c for c in self.connections if isinstance(c, Connection)]
        return min(known, key=lambda c: c._since)  # noqa: SLF001  # of the same class

    def _look(self) -> None:
        """Close the connection unless a request is in progress or was since the last look."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is self._seen and (cycle is None or cycle.response_complete):
            self.transport.abort()
            return
        self._seen = cycle
        self._watch = self.loop.call_later(REQUEST_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._watch.cancel()
        super().connection_lost(exc)
