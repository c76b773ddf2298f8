"""The ASGI application: its routes, with the stage and without it, middleware, metrics."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from core import metrics
from core.clock import Clock, SystemClock
from core.config import Gateway
from core.web import API_KEY
from gateway.http import health, openapi
from gateway.http.endpoint import InFlight, RequestLimits, endpoint
from gateway.http.idempotency import HEADER, REPLAYED, SCOPE, ResponseStore
from gateway.http.middleware import (
    GatewayMetrics,
    admitted,
    authenticated,
    by_segments,
    observed,
)
from gateway.http.responses import Routes, http_error
from gateway.kafka import api as kafka_api
from gateway.kafka.cluster import KafkaCluster
from gateway.kinesis import api as kinesis_api
from gateway.kinesis.streams import Streams

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

PUBLIC = ("/health", "/ready", "/metrics", "/openapi.json")
CORS_METHODS = ("DELETE", "GET", "HEAD", "POST", "PUT")
CORS_REQUEST_HEADERS = ("Content-Encoding", HEADER, SCOPE, API_KEY)
CORS_RESPONSE_HEADERS = (REPLAYED, SCOPE, "Retry-After")
CORS_MAX_AGE_S = 600


def create_app(
    settings: Gateway,
    kafka: kafka_api.Port | None,
    cluster: KafkaCluster | None,
    kinesis: "KinesisClient",
    served: Collection[str] = (),
    clock: Clock | None = None,
) -> Starlette:
    """Return the gateway's application, which opens `kafka` at startup and closes it at shutdown.

    Without `kafka` and `cluster` it has no routes of Kafka: their paths respond with 404.
    `served`: topics that are known before the cluster has them. Set
    `app.state.readiness.draining` when the process is about to stop.
    """
    clock = clock or SystemClock()
    limits = _limits(settings, clock)
    own = _metrics(limits)
    streams = Streams(kinesis)
    readiness = health.Readiness(
        lambda: (kafka.fault() if kafka else None) or streams.fault(), clock
    )
    topics = (
        kafka_api.routes(kafka, cluster, served, settings.max_records) if kafka and cluster else {}
    )
    table: Routes = {
        **topics,
        **kinesis_api.routes(streams, settings.max_records, clock),
        "/health": {"GET": health.alive},
        "/ready": {"GET": readiness.answer},
        "/metrics": {"GET": own.answer},
        **openapi.routes(),
    }
    prefixes = list(dict.fromkeys([f"/{quote(settings.stage)}".rstrip("/"), ""]))
    public = [prefix + path for prefix in prefixes for path in PUBLIC]
    app = Starlette(
        routes=[route for prefix in prefixes for route in _routes(table, prefix, limits)],
        middleware=[
            Middleware(by_segments),
            Middleware(observed, metrics=own, clock=clock),
            Middleware(admitted, settings=settings, public=public),
            *_cors(settings.cors_origins),
            Middleware(authenticated, keys=settings.api_keys, public=public),
        ],
        exception_handlers={HTTPException: http_error},
        lifespan=partial(_lifespan, kafka),
    )
    app.router.redirect_slashes = False
    app.state.readiness = readiness
    return app


def _limits(settings: Gateway, clock: Clock) -> RequestLimits:
    unfinished = max(settings.max_body, settings.max_in_flight // 2)
    in_flight = InFlight(settings.max_in_flight, unfinished)
    return RequestLimits(settings.max_body, in_flight, ResponseStore(settings.max_answers, clock))


def _metrics(limits: RequestLimits) -> GatewayMetrics:
    made, in_flight = GatewayMetrics(), limits.in_flight
    made.gauge(metrics.GATEWAY_IN_FLIGHT, lambda: in_flight.used)
    made.gauge(metrics.GATEWAY_UNFINISHED, lambda: in_flight.unfinished)
    made.gauge(metrics.GATEWAY_ANSWERS, lambda: limits.responses.held)
    return made


def _routes(table: Routes, prefix: str, limits: RequestLimits) -> list[Route]:
    return [
        Route(
            (prefix + path).rstrip("/") or "/",
            endpoint(path, handlers, limits),
            methods=list(handlers),
        )
        for path, handlers in table.items()
    ]


def _cors(origins: Collection[str]) -> list[Middleware]:
    """Return the middleware for the CORS headers and preflight responses of `origins`, if any."""
    if not origins:
        return []
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=CORS_METHODS,
        allow_headers=CORS_REQUEST_HEADERS,
        allow_private_network=True,
        expose_headers=CORS_RESPONSE_HEADERS,
        max_age=CORS_MAX_AGE_S,
    )
    return [cors]


@asynccontextmanager
async def _lifespan(kafka: kafka_api.Port | None, _app: Starlette) -> AsyncIterator[None]:
    if kafka is None:
        yield
        return
    await kafka.open()
    try:
        yield
    finally:
        await kafka.close()
