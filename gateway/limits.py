"""What the gateway takes on at once: bytes of requests, and the reading of one body."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.codings import coding, unpacked

RETRY_LATER = {"Retry-After": "1"}
TOO_LARGE = "Request Entity Too Large"  # as Jetty under the REST Proxy says it


class InFlight:
    """Bytes of the requests that wait for their answer, never more than `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """One request's share, given back at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            self.used -= share.held

    def take(self, size: int) -> None:
        """Hold `size` bytes more; raises HTTPException 503 when they are too many."""
        if self.used + size > self._limit:
            raise HTTPException(503, headers=RETRY_LATER)
        self.used += size


class Share:
    """What one request holds."""

    def __init__(self, whole: InFlight) -> None:
        self._whole = whole
        self.held = 0

    def grow(self, size: int) -> None:
        """Hold `size` bytes in all; raises HTTPException 503 when there is no room."""
        if size > self.held:
            self._whole.take(size - self.held)
            self.held = size


async def body_of(request: Request, share: Share, limit: int) -> bytes:
    """The body without its content coding.

    Raises HTTPException: 413 as soon as the body is known to be longer than `limit`, with its
    coding or without; 415 for an unknown coding, 400 for a body that does not have its coding.
    """
    name = coding(",".join(request.headers.getlist("content-encoding")))
    _admit(int(request.headers.get("content-length", 0)), share, limit)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        _admit(size, share, limit)
        parts.append(part)
    body = b"".join(parts)
    if name is None or not body:
        return body
    return unpacked(body, name, lambda more: _admit(more, share, limit, size))


def _admit(size: int, share: Share, limit: int, besides: int = 0) -> None:
    """Hold `size` bytes of a body, `besides` the bytes that are held for it already."""
    if size > limit:
        raise HTTPException(413, TOO_LARGE)
    share.grow(size + besides)


def refuse_more(records: int, limit: int) -> None:
    """Raise HTTPException 413 for more records in one request than `limit`."""
    if records > limit:
        raise HTTPException(413, f"{TOO_LARGE}: {records} records, {limit} are the most")
