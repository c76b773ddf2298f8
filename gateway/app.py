"""The application: every route under the stage and without it, keys, limits, last resorts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import kafka as kafka_routes
from gateway import kinesis as kinesis_routes
from gateway import openapi
from gateway.answers import Handler, Refusal, reply
from gateway.auth import guard
from gateway.producer import KAFKA_FAILED
from pinpip.config import Gateway

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

HEALTH = "/health"
TOO_LARGE = "Request Entity Too Large"  # as Jetty under the REST Proxy says it
_log = structlog.get_logger("gateway")


def create_app(
    settings: Gateway,
    kafka: kafka_routes.Port,
    kinesis: "KinesisClient",
    served: Collection[str] = (),
) -> Starlette:
    """The gateway as an ASGI application; it opens `kafka` when it starts and closes it at its end.

    `served`: topics that are known before the cluster has them.
    """
    table = {
        HEALTH: {"GET": _health},
        **kafka_routes.routes(kafka, served),
        **kinesis_routes.routes(kinesis),
        **openapi.routes(),
    }
    prefixes = dict.fromkeys(["", f"/{settings.stage}".rstrip("/")])
    app = Starlette(
        routes=[
            Route(prefix + path, _endpoint(handlers, settings.max_body), methods=list(handlers))
            for prefix in prefixes
            for path, handlers in table.items()
        ],
        middleware=[
            Middleware(
                guard,
                keys=settings.api_keys,
                public=[p + path for p in prefixes for path in (HEALTH, openapi.PATH)],
            )
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=partial(_lifespan, kafka),
    )
    app.router.redirect_slashes = False
    return app


@asynccontextmanager
async def _lifespan(kafka: kafka_routes.Port, _app: Starlette) -> AsyncIterator[None]:
    kafka.open()
    try:
        yield
    finally:
        await run_in_threadpool(kafka.close)


async def _health(_request: Request, _body: bytes) -> Response:
    return reply({"status": "ok"})


def _endpoint(
    handlers: Mapping[str, Handler], max_body: int
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        handler = handlers["GET" if request.method == "HEAD" else request.method]
        try:
            return await handler(request, await _body(request, max_body))
        except Refusal as refusal:
            return refusal.response()
        except HTTPException:
            raise
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception as error:  # noqa: BLE001  # the last resort: no traceback leaves the house
            return _unexpected(error)

    return endpoint


async def _body(request: Request, limit: int) -> bytes:
    """The body; raises HTTPException 413 as soon as it is known to be longer than `limit`."""
    if int(request.headers.get("content-length", 0)) > limit:
        raise HTTPException(413, TOO_LARGE)
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise HTTPException(413, TOO_LARGE)
        parts.append(part)
    return b"".join(parts)


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
