"""`Idempotency-Key`: a repeated request gets the first one's answer and stores nothing twice.

The header is that of the IETF's draft-ietf-httpapi-idempotency-key-header. What is kept is in this
process's memory: every answer to a request with a key says whose memory it is in
`Idempotency-Scope`, and a request that names another scope is refused with 412 before anything
is stored, so that a client never takes a gateway that has forgotten its key for one that has not.
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
from gateway.http.auth import CALLER
from gateway.http.limits import RETRY_LATER
from gateway.http.responses import Refusal

HEADER = "Idempotency-Key"
SCOPE = "Idempotency-Scope"
REPLAYED = "Idempotency-Replayed"
KEPT_SECONDS = 600.0
_KEY = re.compile(r"[!-~]{1,255}")
WORTH_PACKING = 1000
_STORING = {"POST", "PUT"}
_OVERHEAD = 700  # bytes that an answer takes besides its body

Work = Callable[[], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is kept of an answer."""

    status: int
    media_type: str
    body: bytes
    is_packed: bool
    until: float


@dataclass(slots=True)
class _Request:
    """A request with a key: `answer` is the running work until there is one to keep."""

    fingerprint: int
    answer: "asyncio.Task[Response] | _Answer"


class Answers:
    """The answers of the last ten minutes, by caller, method, path and key.

    `limit`: bytes that they may take; beyond it requests with a new key are refused, for a
    promise that is forgotten early is none.
    """

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._requests: OrderedDict[bytes, _Request] = OrderedDict()
        self.held = 0
        self.scope = uuid4().hex

    async def once(self, request: Request, path: str, body: bytes, work: Work) -> Response:
        """The answer of `work`, or that of the same request before; `path` without the stage.

        Raises HTTPException: 400 for a key that is none, 412 for another scope, 422 for a key
        that came with another request, 503 when there is no room; and what `work` raises.
        """
        key = request.headers.get(HEADER)
        if key is None or request.method not in _STORING:
            return await work()
        self._check(key, request.headers.get(SCOPE, self.scope))
        caller = request.scope.get(CALLER) or ""
        name = _digest(f"{caller}\n{request.method}\n{path}\n{key}")
        fingerprint = hash((request.headers.get("content-type"), body))
        before = self._recall(name)
        if before is None:
            return await self._first(name, fingerprint, work)
        if before.fingerprint != fingerprint:
            raise HTTPException(422, f"{HEADER} came before with another request")
        return await _again(before.answer)

    def _check(self, key: str, scope: str) -> None:
        if not _KEY.fullmatch(key):
            raise HTTPException(400, f"{HEADER} must have 1 to 255 visible ASCII characters")
        if scope != self.scope:
            raise HTTPException(412, f"{SCOPE} is another gateway's, or from before its restart")

    def _recall(self, name: bytes) -> _Request | None:
        now = self._clock.monotonic()
        while self._requests:
            oldest, kept = next(iter(self._requests.items()))
            if isinstance(kept.answer, asyncio.Task) or kept.answer.until > now:
                break
            self._forget(oldest)
        return self._requests.get(name)

    async def _first(self, name: bytes, fingerprint: int, work: Work) -> Response:
        if self.held + _OVERHEAD > self._limit:
            detail = "No room for another Idempotency-Key (gateway.max_answers)"
            raise HTTPException(503, detail, RETRY_LATER)
        task = asyncio.create_task(_run(work))
        self._requests[name] = _Request(fingerprint, task)
        self.held += _OVERHEAD
        task.add_done_callback(lambda done: self._keep(name, done))
        return await asyncio.shield(task)  # a client that goes away leaves the answer to its repeat

    def _keep(self, name: bytes, done: "asyncio.Task[Response]") -> None:
        if done.cancelled() or done.exception():
            self._forget(name)
            return
        response = done.result()
        until = self._clock.monotonic() + KEPT_SECONDS
        body, is_packed = bytes(response.body), len(response.body) > WORTH_PACKING
        body = zlib.compress(body, 1) if is_packed else body
        media_type = response.headers["content-type"]
        answer = _Answer(response.status_code, media_type, body, is_packed, until)
        self._requests[name].answer = answer
        self._requests.move_to_end(name)
        self.held += len(body)

    def _forget(self, name: bytes) -> None:
        answer = self._requests.pop(name).answer
        self.held -= _OVERHEAD + (len(answer.body) if isinstance(answer, _Answer) else 0)


async def _run(work: Work) -> Response:
    """The answer of `work`; a refusal after which a record may be stored is an answer to keep."""
    try:
        return await work()
    except Refusal as refusal:
        if refusal.stored_nothing:
            raise
        return refusal.response()


async def _again(answer: "asyncio.Task[Response] | _Answer") -> Response:
    if isinstance(answer, _Answer):
        body = zlib.decompress(answer.body) if answer.is_packed else answer.body
        status, media_type = answer.status, answer.media_type
    else:
        first = await asyncio.shield(answer)
        body, status, media_type = (
            bytes(first.body),
            first.status_code,
            first.headers["content-type"],
        )
    return Response(body, status, {REPLAYED: "true"}, media_type)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
