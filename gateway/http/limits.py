"""What the gateway takes on at once: bytes of requests, and the reading of one body."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from gateway.http.codings import coding, unpacked

RETRY_LATER = {"Retry-After": "1"}
TOO_LARGE = "Request Entity Too Large"  # as Jetty under the REST Proxy says it


class InFlight:
    """Bytes of the requests that wait for their answer, never more than `limit`.

    `waiting`: what bodies that have not arrived whole may hold of it, so that slow clients leave
    room for others.
    """

    def __init__(self, limit: int, waiting: int) -> None:
        self._limits = limit, waiting
        self.used = self.unfinished = 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """One request's share, given back at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            self.used -= share.held
            self.unfinished -= share.unfinished

    def take(self, held: int, unfinished: int) -> None:
        """Hold so many bytes more; raises HTTPException 503, which names the limit."""
        limit, waiting = self._limits
        if held > 0 and self.used + held > limit:
            raise _full(f"{limit} bytes under way (gateway.max_in_flight)")
        if unfinished > 0 and self.unfinished + unfinished > waiting:
            raise _full(f"{waiting} bytes of unfinished bodies (gateway.max_in_flight)")
        self.used += held
        self.unfinished += unfinished


def _full(what: str) -> HTTPException:
    return HTTPException(503, f"Service Unavailable: at most {what}", RETRY_LATER)


class Share:
    """What one request holds, and how much of it is an unfinished body's."""

    def __init__(self, whole: InFlight) -> None:
        self._whole = whole
        self.held = self.unfinished = 0

    def grow(self, size: int, *, more: bool = False) -> None:
        """Hold `size` bytes in all; raises HTTPException 503 when there is no room.

        `more`: whether the body goes on.
        """
        held, unfinished = max(self.held, size), size if more else 0
        self._whole.take(held - self.held, unfinished - self.unfinished)
        self.held, self.unfinished = held, unfinished


async def body_of(request: Request, share: Share, limit: int) -> bytes:
    """The body without its content coding.

    Raises HTTPException: 413 as soon as the body is known to be longer than `limit`, with its
    coding or without; 415 for an unknown coding, 400 for a body that does not have its coding.
    Raises ClientDisconnect when the client goes away.
    """
    name = coding(",".join(request.headers.getlist("content-encoding")))
    _refuse_longer(int(request.headers.get("content-length", 0)), limit)
    body = await _arrived(request, share, limit)
    if name is None or not body:
        return body

    def grow(size: int) -> None:
        _refuse_longer(size, limit)
        share.grow(len(body) + size)

    return unpacked(body, name, grow)


async def _arrived(request: Request, share: Share, limit: int) -> bytes:
    """The body, of which only what has arrived is held."""
    parts, size, more = list[bytes](), 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
        _refuse_longer(size, limit)
        share.grow(size, more=more)
    return b"".join(parts)


def _refuse_longer(size: int, limit: int) -> None:
    if size > limit:
        raise HTTPException(413, TOO_LARGE)


def refuse_more(records: int, limit: int) -> None:
    """Raise HTTPException 413 for more records in one request than `limit`."""
    if records > limit:
        raise HTTPException(413, f"{TOO_LARGE}: {records} records, {limit} are the most")
