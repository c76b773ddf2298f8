"""What the gateway tells of itself: a line for each request, and metrics."""

from collections.abc import Callable
from functools import cache

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.clock import Clock
from gateway.http.auth import CALLER

ROUTE = "pinpip.route"
"""Where the request's scope holds the template of the route that answered."""
PATH_SHOWN = 300
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_log = structlog.get_logger("gateway.access")


class GatewayMetrics:
    """Counters of one gateway, in a registry of their own; the names are the contract."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "pinpip_gateway_requests",
            "Requests by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "pinpip_gateway_request_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.received = Counter(
            "pinpip_gateway_received_bytes", "Bytes of bodies.", registry=self.registry
        )
        self._requests_of = cache(self.requests.labels)  # looking a child up takes 5 us
        self._seconds_of = cache(self.seconds.labels)

    def count(self, route: str, method: str, status: int, seconds: float, received: int) -> None:
        """Count one request."""
        self._requests_of(route, method, status).inc()
        self._seconds_of(route).observe(seconds)
        self.received.inc(received)

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(f"pinpip_gateway_{name}", what, registry=self.registry).set_function(value)

    async def answer(self, _request: Request, _body: bytes) -> Response:
        """`GET /metrics`."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


def observed(app: ASGIApp, metrics: GatewayMetrics, clock: Clock) -> ASGIApp:
    """`app`, with each request counted and logged: never its body, its query or its key."""

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        started, status = clock.monotonic(), 0

        async def note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        received = _Received(receive)
        try:
            await app(scope, received, note)
        finally:
            _tell(metrics, scope, status, received.size, clock.monotonic() - started)

    return watched


class _Received:
    """`receive`, counting what comes."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self.size += len(message.get("body", b""))
        return message


def _tell(
    metrics: GatewayMetrics, scope: Scope, status: int, received: int, seconds: float
) -> None:
    route, method = scope.get(ROUTE, "none"), scope["method"]
    metrics.count(route, method if route != "none" else "any", status, seconds, received)
    _log.info(
        "request",
        method=method,
        path=scope["path"][:PATH_SHOWN],
        status=status,
        bytes=received,
        ms=round(seconds * 1000, 1),
        client=(scope.get("client") or [None])[0],
        caller=scope.get(CALLER),
    )
