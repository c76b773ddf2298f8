"""`Idempotency-Key`: a repeated request gets the first response and stores nothing twice.

The header is that of the IETF's draft-ietf-httpapi-idempotency-key-header. Responses are stored in
the memory of this process. Every response to a request with a key names this memory in
`Idempotency-Scope`, and a request that names another scope is refused with 412 before anything
is stored: a client never mistakes a gateway that has lost its key for one that has it.
"""

import asyncio
import hashlib
import re
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core.clock import Clock
from gateway.http.middleware import CALLER
from gateway.http.responses import RETRY_LATER, Refusal

HEADER = "Idempotency-Key"
SCOPE = "Idempotency-Scope"
REPLAYED = "Idempotency-Replayed"
RETENTION_S = 600.0
MIN_COMPRESSED = 1000
"""Bytes of a body from which on it is stored compressed."""
_KEY = re.compile(r"[!-~]{1,255}")
_STORING = {"POST", "PUT"}
_OVERHEAD = 700  # bytes that a stored response takes besides its body

Work = Callable[[], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Stored:
    """A stored response; `expires` is a time of the monotonic clock."""

    status: int
    media_type: str
    body: bytes
    is_compressed: bool
    expires: float


@dataclass(slots=True)
class _Request:
    """A request with a key; `response` is the running task until the response is stored."""

    fingerprint: int
    response: "asyncio.Task[Response] | _Stored"


class ResponseStore:
    """The responses of the last ten minutes, by caller, method, path and key.

    `limit`: bytes of all stored responses. At the limit, requests with a new key are refused: a
    response that is dropped early would let a repeated request store its records twice.
    """

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._requests: OrderedDict[bytes, _Request] = OrderedDict()
        self.held = 0
        self.scope = uuid4().hex

    async def once(self, request: Request, path: str, body: bytes, work: Work) -> Response:
        """Return the response of `work`, or that of the same request before.

        `path`: the path without the stage. Raises HTTPException: 400 for a malformed key, 412 for
        another scope, 422 for a key that came with another request, 503 when the store is full;
        and what `work` raises.
        """
        key = request.headers.get(HEADER)
        if key is None or request.method not in _STORING:
            return await work()
        self._check(key, request.headers.get(SCOPE, self.scope))
        caller = request.scope.get(CALLER) or ""
        name = _digest(f"{caller}\n{request.method}\n{path}\n{key}")
        fingerprint = hash((request.headers.get("content-type"), body))
        before = self._find(name)
        if before is None:
            return await self._first(name, fingerprint, work)
        if before.fingerprint != fingerprint:
            raise HTTPException(422, f"{HEADER} came before with another request")
        return await _replayed(before.response)

    def _check(self, key: str, scope: str) -> None:
        if not _KEY.fullmatch(key):
            raise HTTPException(400, f"{HEADER} must have 1 to 255 visible ASCII characters")
        if scope != self.scope:
            raise HTTPException(412, f"{SCOPE} is another gateway's, or from before its restart")

    def _find(self, name: bytes) -> _Request | None:
        """Return the request with this name, after removal of the expired ones."""
        now = self._clock.monotonic()
        while self._requests:
            oldest, kept = next(iter(self._requests.items()))
            if isinstance(kept.response, asyncio.Task) or kept.response.expires > now:
                break
            self._remove(oldest)
        return self._requests.get(name)

    async def _first(self, name: bytes, fingerprint: int, work: Work) -> Response:
        if self.held + _OVERHEAD > self._limit:
            detail = "No room for another Idempotency-Key (gateway.max_answers)"
            raise HTTPException(503, detail, RETRY_LATER)
        task = asyncio.create_task(_run(work))
        self._requests[name] = _Request(fingerprint, task)
        self.held += _OVERHEAD
        task.add_done_callback(lambda done: self._store(name, done))
        return await asyncio.shield(task)  # the task goes on when the client disconnects

    def _store(self, name: bytes, done: "asyncio.Task[Response]") -> None:
        if done.cancelled() or done.exception():
            self._remove(name)
            return
        response = done.result()
        expires = self._clock.monotonic() + RETENTION_S
        body, is_compressed = bytes(response.body), len(response.body) > MIN_COMPRESSED
        body = zlib.compress(body, 1) if is_compressed else body
        media_type = response.headers["content-type"]
        stored = _Stored(response.status_code, media_type, body, is_compressed, expires)
        self._requests[name].response = stored
        self._requests.move_to_end(name)
        self.held += len(body)

    def _remove(self, name: bytes) -> None:
        response = self._requests.pop(name).response
        self.held -= _OVERHEAD + (len(response.body) if isinstance(response, _Stored) else 0)


async def _run(work: Work) -> Response:
    """Return the response of `work`, or that of a refusal that may have stored a record."""
    try:
        return await work()
    except Refusal as refusal:
        if refusal.stored_nothing:
            raise
        return refusal.response()


async def _replayed(response: "asyncio.Task[Response] | _Stored") -> Response:
    if isinstance(response, _Stored):
        body = zlib.decompress(response.body) if response.is_compressed else response.body
        status, media_type = response.status, response.media_type
    else:
        first = await asyncio.shield(response)
        body, status, media_type = (
            bytes(first.body),
            first.status_code,
            first.headers["content-type"],
        )
    return Response(body, status, {REPLAYED: "true"}, media_type)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
