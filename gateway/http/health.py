"""Whether the process lives, and whether it is ready for requests."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from core.clock import Clock
from gateway.http.limits import RETRY_LATER
from gateway.http.responses import reply

FRESH_SECONDS = 1.0


async def alive(_request: Request, _body: bytes) -> Response:
    """`GET /health`."""
    return reply({"status": "ok"})


@dataclass
class Readiness:
    """Whether to send requests here; `fault` is asked once a second at most.

    `fault`: what keeps the gateway from serving, or None; it may block.
    """

    fault: Callable[[], str | None]
    clock: Clock
    draining: bool = False
    _asked: float | None = None
    _said: str | None = None
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, _request: Request, _body: bytes) -> Response:
        """`GET /ready`."""
        reason = "draining" if self.draining else await self._served()
        if reason is None:
            return reply({"status": "ready"})
        return reply({"status": "unready", "reason": reason}, 503, headers=RETRY_LATER)

    async def _served(self) -> str | None:
        async with self._asking:
            now = self.clock.monotonic()
            if self._asked is None or now - self._asked >= FRESH_SECONDS:
                self._said = await run_in_threadpool(self.fault)
                self._asked = self.clock.monotonic()
            return self._said
