"""ASGI middleware of all routes: path segments, access log and metrics, Host and Origin, API keys.

A page of any site can make a browser send requests to loopback or into a private network. A site
whose own name resolves there (DNS rebinding) even has the gateway's origin. Therefore an Origin
must be the gateway's or an allowed one, and without keys the Host must be a name of the gateway.
The routes add a third rule: they refuse the media types that an HTML form can send.
"""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from urllib.parse import quote, unquote

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import metrics
from core.clock import Clock
from core.config import Gateway
from core.web import API_KEY, hashed, is_same, named
from gateway.http.responses import reply

CALLER = "pinpip.caller"
"""The key of the ASGI scope under which the name of the API key's holder stands."""
ROUTE = "pinpip.route"
"""The key of the ASGI scope under which the route's path template stands."""
MAX_LOGGED_PATH = 300
_log = structlog.get_logger("gateway.access")


def by_segments(app: ASGIApp) -> ASGIApp:
    """Return `app` with each path segment decoded and encoded again, so that it has one spelling.

    An encoded slash is part of its segment, as in the REST Proxy: routes see `%2F`, and handlers
    the decoded name. A slash at the end of the path is ignored.
    """

    async def normalized(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            segments = scope["raw_path"].decode("ascii").removesuffix("/").split("/")
            scope["path"] = "/".join(quote(unquote(s), safe="") for s in segments) or "/"
        await app(scope, receive, send)

    return normalized


class GatewayMetrics:
    """Prometheus metrics of one gateway, in a separate registry; users rely on their names."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        disable_created_metrics()  # type: ignore[no-untyped-call]
        own = metrics.GATEWAY_SECONDS
        self.requests = Counter(*metrics.GATEWAY_REQUESTS.arguments, registry=self.registry)
        self.seconds = Histogram(*own.arguments, registry=self.registry, buckets=own.buckets)
        self.received = Counter(*metrics.GATEWAY_RECEIVED.arguments, registry=self.registry)
        self._requests_of = cache(self.requests.labels)  # `labels` takes 5 us
        self._seconds_of = cache(self.seconds.labels)

    def count(self, route: str, method: str, status: int, seconds: float, received: int) -> None:
        """Count one request."""
        self._requests_of(route, method, status).inc()
        self._seconds_of(route).observe(seconds)
        self.received.inc(received)

    def gauge(self, metric: metrics.Metric, value: Callable[[], float]) -> None:
        """Add a gauge; each scrape calls `value`."""
        Gauge(*metric.arguments, registry=self.registry).set_function(value)

    async def answer(self, _request: Request, _body: bytes) -> Response:
        """Handle `GET /metrics`."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


def observed(app: ASGIApp, metrics: GatewayMetrics, clock: Clock) -> ASGIApp:
    """Return `app` with each request counted and logged, without its body, query and API key."""

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        started, status = clock.monotonic(), 0

        async def note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        received = _CountedReceive(receive)
        try:
            await app(scope, received, note)
        finally:
            _record(metrics, scope, status, received.size, clock.monotonic() - started)

    return watched


class _CountedReceive:
    """ASGI's `receive`, with the bytes of the body counted."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.size = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self.size += len(message.get("body", b""))
        return message


def _record(
    metrics: GatewayMetrics, scope: Scope, status: int, received: int, seconds: float
) -> None:
    route, method = scope.get(ROUTE, "none"), scope["method"]
    metrics.count(route, method if route != "none" else "any", status, seconds, received)
    _log.info(
        "request",
        method=method,
        path=scope["path"][:MAX_LOGGED_PATH],
        status=status,
        bytes=received,
        ms=round(seconds * 1000, 1),
        client=(scope.get("client") or [None])[0],
        caller=scope.get(CALLER),
    )


def admitted(app: ASGIApp, settings: Gateway, public: Collection[str]) -> ASGIApp:
    """Return `app`, with 403 for a Host or Origin that the settings do not allow.

    Requests to the paths in `public` are not checked.
    """
    has_host = named(settings.host, settings.hosts, keyed=bool(settings.api_keys))

    async def admit(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in public:
            refusal = _refusal(Headers(scope=scope), has_host, settings.cors_origins)
            if refusal is not None:
                await reply({"message": f"Forbidden: {refusal}"}, 403)(scope, receive, send)
                return
        await app(scope, receive, send)

    return admit


def _refusal(
    headers: Headers, has_host: Callable[[str], bool], origins: Collection[str]
) -> str | None:
    """Return why the request is refused, or None."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if host and not has_host(host):
        return f"the host {host} is not this gateway's; add it to gateway.hosts"
    if origin is None or origin in origins or "*" in origins or is_same(origin, host):
        return None
    return f"pages of {origin} may not send here; add it to gateway.cors_origins"


def authenticated(app: ASGIApp, keys: Mapping[str, str], public: Collection[str]) -> ASGIApp:
    """Return `app`, with API Gateway's 403 for a request without a valid API key.

    `keys`: hashes by the names of their holders; without any, no key is needed. The paths in
    `public` need no key.
    """
    holders = {digest: name for name, digest in keys.items()}

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if holders and scope["type"] == "http":
            given = Headers(scope=scope).get(API_KEY, "")
            scope[CALLER] = holders.get(hashed(given.encode("latin-1")))  # the header's bytes
            if scope[CALLER] is None and scope["path"] not in public:
                await reply({"message": "Forbidden"}, 403)(scope, receive, send)
                return
        await app(scope, receive, send)

    return guarded
