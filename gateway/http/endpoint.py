"""One request at its route: read the body within the limits, call the handler, return a response.

Limits: the bytes of one body (`max_body`), and of all bodies in flight (`max_in_flight`).
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from gateway.http.idempotency import HEADER, SCOPE, ResponseStore
from gateway.http.middleware import ROUTE
from gateway.http.request_codec import coding, unpacked
from gateway.http.responses import RETRY_LATER, Handler, Refusal, http_error, unexpected

TOO_LARGE = "Request Entity Too Large"  # the phrase of Jetty, which serves the REST Proxy


class InFlight:
    """The bytes of the bodies of all requests that wait for their response, at most `limit`.

    `unfinished_limit`: the part of `limit` for bodies that have not arrived completely, so that
    slow clients leave room for others.
    """

    def __init__(self, limit: int, unfinished_limit: int) -> None:
        self._limits = limit, unfinished_limit
        self.used = self.unfinished = 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """Yield the share of one request, and release it at the end of the block."""
        share = Share(self)
        try:
            yield share
        finally:
            self.used -= share.held
            self.unfinished -= share.unfinished

    def take(self, held: int, unfinished: int) -> None:
        """Add to the bytes in flight; raises HTTPException 503, which names the limit."""
        limit, unfinished_limit = self._limits
        if held > 0 and self.used + held > limit:
            raise _full(f"{limit} bytes under way (gateway.max_in_flight)")
        if unfinished > 0 and self.unfinished + unfinished > unfinished_limit:
            raise _full(f"{unfinished_limit} bytes of unfinished bodies (gateway.max_in_flight)")
        self.used += held
        self.unfinished += unfinished


def _full(what: str) -> HTTPException:
    return HTTPException(503, f"Service Unavailable: at most {what}", RETRY_LATER)


class Share:
    """The bytes that one request holds, and how many of them belong to an unfinished body."""

    def __init__(self, whole: InFlight) -> None:
        self._whole = whole
        self.held = self.unfinished = 0

    def grow(self, size: int, *, more: bool = False) -> None:
        """Hold `size` bytes in total; raises HTTPException 503 when there is no room.

        `more`: whether further bytes of the body will arrive.
        """
        held, unfinished = max(self.held, size), size if more else 0
        self._whole.take(held - self.held, unfinished - self.unfinished)
        self.held, self.unfinished = held, unfinished


@dataclass(frozen=True)
class RequestLimits:
    """The limits of all requests, and the stored responses to those with an Idempotency-Key."""

    max_body: int
    in_flight: InFlight
    responses: ResponseStore


def endpoint(
    path: str, handlers: Mapping[str, Handler], limits: RequestLimits
) -> Callable[[Request], Awaitable[Response]]:
    """Return the function that Starlette calls for `path`, the route without the stage."""

    async def handle(request: Request) -> Response:
        request.scope[ROUTE] = path
        handler = handlers["GET" if request.method == "HEAD" else request.method]
        with limits.in_flight.share() as share:
            try:
                body = await body_of(request, share, limits.max_body)
                work = partial(_respond, handler, request, body)
                params = request.path_params
                where = path.format(**params)
                request.scope["path_params"] = {n: unquote(params[n]) for n in params}
                response = await limits.responses.once(request, where, body, work)
            except Refusal as refusal:
                response = refusal.response()
            except HTTPException as error:
                response = http_error(request, error)
            except ClientDisconnect:
                response = Response(status_code=400)  # nobody reads it
        if HEADER in request.headers:
            response.headers[SCOPE] = limits.responses.scope
        return response

    return handle


async def _respond(handler: Handler, request: Request, body: bytes) -> Response:
    try:
        return await handler(request, body)
    except (Refusal, HTTPException):
        raise
    except Exception as error:  # noqa: BLE001  # the last resort: no traceback reaches the client
        return unexpected(error)


async def body_of(request: Request, share: Share, limit: int) -> bytes:
    """Return the body without its content coding.

    Raises HTTPException: 413 as soon as the body is known to be longer than `limit`, with its
    coding or without; 415 for an unknown coding, 400 for a body that does not have its coding.
    Raises ClientDisconnect when the client closes the connection.
    """
    name = coding(",".join(request.headers.getlist("content-encoding")))
    _check_size(int(request.headers.get("content-length", 0)), limit)
    body = await _receive(request, share, limit)
    if name is None or not body:
        return body

    def grow(size: int) -> None:
        _check_size(size, limit)
        share.grow(len(body) + size)

    return unpacked(body, name, grow)


async def _receive(request: Request, share: Share, limit: int) -> bytes:
    """Return the body; the share holds only the bytes that have arrived, not those announced."""
    parts, size, more = list[bytes](), 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
        _check_size(size, limit)
        share.grow(size, more=more)
    return b"".join(parts)


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise HTTPException(413, TOO_LARGE)


def check_count(records: int, limit: int) -> None:
    """Raise HTTPException 413 when a request has more records than `limit`."""
    if records > limit:
        raise HTTPException(413, f"{TOO_LARGE}: {records} records, {limit} are the most")
