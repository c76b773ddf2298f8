"""The application: every route under the stage and without it, keys, limits, last resorts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from core.clock import Clock, SystemClock
from core.config import Gateway
from gateway.http import health, openapi
from gateway.http.auth import guard
from gateway.http.idempotency import HEADER, SCOPE, Answers
from gateway.http.limits import InFlight, body_of
from gateway.http.observe import ROUTE, GatewayMetrics, observed
from gateway.http.pages import admitted, shared
from gateway.http.responses import Handler, Refusal, Routes, reply
from gateway.kafka import topics as kafka_routes
from gateway.kafka.cluster import KafkaCluster
from gateway.kafka.producer import KAFKA_FAILED
from gateway.kinesis import api as kinesis_routes
from gateway.kinesis.streams import Streams

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

PUBLIC = ("/health", "/ready", "/metrics", "/openapi.json")
_log = structlog.get_logger("gateway")


@dataclass(frozen=True)
class _Middle:
    """What stands between a request and its handler."""

    max_body: int
    in_flight: InFlight
    answers: Answers


def create_app(
    settings: Gateway,
    kafka: kafka_routes.Port,
    cluster: KafkaCluster,
    kinesis: "KinesisClient",
    served: Collection[str] = (),
    clock: Clock | None = None,
) -> Starlette:
    """The gateway as an ASGI application; it opens `kafka` when it starts and closes it at its end.

    `served`: topics that are known before the cluster has them. `app.state.readiness` may be told
    that the process drains.
    """
    clock = clock or SystemClock()
    answers = Answers(settings.max_answers, clock)
    unfinished = max(settings.max_body, settings.max_in_flight // 2)
    in_flight = InFlight(settings.max_in_flight, unfinished)
    middle = _Middle(settings.max_body, in_flight, answers)
    metrics = _metrics(middle)
    streams = Streams(kinesis)
    readiness = health.Readiness(lambda: kafka.fault() or streams.fault(), clock)
    table: Routes = {
        **kafka_routes.routes(kafka, cluster, served, settings.max_records),
        **kinesis_routes.routes(streams, settings.max_records, clock),
        "/health": {"GET": health.alive},
        "/ready": {"GET": readiness.answer},
        "/metrics": {"GET": metrics.answer},
        **openapi.routes(),
    }
    prefixes = list(dict.fromkeys([f"/{quote(settings.stage)}".rstrip("/"), ""]))
    public = [prefix + path for prefix in prefixes for path in PUBLIC]
    app = Starlette(
        routes=[route for prefix in prefixes for route in _routes(table, prefix, middle)],
        middleware=[
            Middleware(_by_segments),
            Middleware(observed, metrics=metrics, clock=clock),
            Middleware(admitted, settings=settings, public=public),
            Middleware(shared, origins=settings.cors_origins),
            Middleware(guard, keys=settings.api_keys, public=public),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=partial(_lifespan, kafka),
    )
    app.router.redirect_slashes = False
    app.state.readiness = readiness
    return app


def _metrics(middle: _Middle) -> GatewayMetrics:
    metrics = GatewayMetrics()
    metrics.gauge("in_flight_bytes", "Bytes of bodies under way.", lambda: middle.in_flight.used)
    metrics.gauge(
        "unfinished_bytes", "Bytes of bodies still arriving.", lambda: middle.in_flight.unfinished
    )
    metrics.gauge("answers_bytes", "Bytes of answers kept.", lambda: middle.answers.held)
    return metrics


def _routes(table: Routes, prefix: str, middle: _Middle) -> list[Route]:
    return [
        Route(
            (prefix + path).rstrip("/") or "/",
            _endpoint(path, handlers, middle),
            methods=list(handlers),
        )
        for path, handlers in table.items()
    ]


def _by_segments(app: ASGIApp) -> ASGIApp:
    """`app` for the path's segments as they were sent, each spelt in one way.

    An encoded slash is part of its segment, as in the REST Proxy: routes see `%2F`, and handlers
    the decoded name. A slash at the end says nothing.
    """

    async def spelt(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            segments = scope["raw_path"].decode("ascii").removesuffix("/").split("/")
            scope["path"] = "/".join(quote(unquote(s), safe="") for s in segments) or "/"
        await app(scope, receive, send)

    return spelt


@asynccontextmanager
async def _lifespan(kafka: kafka_routes.Port, _app: Starlette) -> AsyncIterator[None]:
    await kafka.open()
    try:
        yield
    finally:
        await kafka.close()


def _endpoint(
    path: str, handlers: Mapping[str, Handler], middle: _Middle
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        request.scope[ROUTE] = path
        handler = handlers["GET" if request.method == "HEAD" else request.method]
        with middle.in_flight.share() as share:
            try:
                body = await body_of(request, share, middle.max_body)
                work = partial(_answer, handler, request, body)
                params = request.path_params
                where = path.format(**params)
                request.scope["path_params"] = {n: unquote(params[n]) for n in params}
                response = await middle.answers.once(request, where, body, work)
            except Refusal as refusal:
                response = refusal.response()
            except HTTPException as error:
                response = _http_error(request, error)
            except ClientDisconnect:
                response = Response(status_code=400)  # nobody is there to read it
        if HEADER in request.headers:
            response.headers[SCOPE] = middle.answers.scope
        return response

    return endpoint


async def _answer(handler: Handler, request: Request, body: bytes) -> Response:
    try:
        return await handler(request, body)
    except (Refusal, HTTPException):
        raise
    except Exception as error:  # noqa: BLE001  # the last resort: no traceback leaves the house
        return _unexpected(error)


def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # as it is registered
    message = f"HTTP {error.status_code} {error.detail}"
    body = {"error_code": error.status_code, "message": message}
    return reply(body, error.status_code, headers=error.headers)


def _unexpected(error: Exception) -> Response:
    """500, and a log line that says where but quotes nothing: the message may hold a record."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace else None
    where = f"{code.co_filename}:{trace.tb_lineno}" if code and trace else "unknown"
    _log.error("unexpected error", error=type(error).__name__, where=where)
    return reply({"error_code": KAFKA_FAILED, "message": "Internal Server Error"}, 500)
