"""Liveness and readiness of the gateway."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from core.clock import Clock
from gateway.http.responses import RETRY_LATER, reply

MAX_AGE_S = 1.0
"""How long one result of `fault` is used."""


async def alive(_request: Request, _body: bytes) -> Response:
    """Handle `GET /health`."""
    return reply({"status": "ok"})


@dataclass
class Readiness:
    """Whether the gateway can serve requests; it calls `fault` once a second at most.

    `fault` returns why the gateway cannot serve, or None; it may block. `draining`: whether the
    process is about to stop.
    """

    fault: Callable[[], str | None]
    clock: Clock
    draining: bool = False
    _checked_at: float | None = None
    _reason: str | None = None
    _checking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, _request: Request, _body: bytes) -> Response:
        """Handle `GET /ready`."""
        reason = "draining" if self.draining else await self._check()
        if reason is None:
            return reply({"status": "ready"})
        return reply({"status": "unready", "reason": reason}, 503, headers=RETRY_LATER)

    async def _check(self) -> str | None:
        async with self._checking:
            now = self.clock.monotonic()
            if self._checked_at is None or now - self._checked_at >= MAX_AGE_S:
                self._reason = await run_in_threadpool(self.fault)
                self._checked_at = self.clock.monotonic()
            return self._reason
