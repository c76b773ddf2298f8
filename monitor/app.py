"""The HTTP routes of a process that shows itself: page, metrics, health, search.

Callables that may block run in threads, so that a slow page never delays /live or /metrics.
"""

import asyncio
import gzip
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.clock import Clock
from core.errors import FatalError, PinpipError
from monitor import guard
from monitor.view import PageView
from monitor.work import Shared, in_thread

FRESH_S = 0.5  # how long a page is shown again to others
PATIENCE_S = 30.0  # how long a request waits for its response
SEARCHES = 2  # at a time
_HTML = {"content-type": "text/html; charset=utf-8"}
_log = structlog.get_logger("monitor")


@dataclass(frozen=True)
class Rendering:
    """How a page is shown: `whole`, with the nonce of its scripts and styles, or <main> alone.

    `policy`: the page's Content-Security-Policy, with `{nonce}` in it.
    """

    whole: Callable[[PageView, str], str]
    main: Callable[[PageView], str]
    policy: str


@dataclass(frozen=True)
class Served:
    """What a process shows.

    `page` and `search` may block. `live` and `ready` return why the process is not, from memory.
    `search` takes the query of a URL and returns what JSON can say; a FatalError is a query that
    cannot be answered.
    """

    page: Callable[[], PageView]
    rendering: Rendering
    registry: CollectorRegistry
    live: Callable[[], str | None] = lambda: None
    ready: Callable[[], str | None] = lambda: None
    search: Callable[[Mapping[str, str]], Any] | None = None


def create_app(served: Served, access: guard.Access, clock: Clock) -> Starlette:
    """Return the application: every other path is 404, every other method 405."""
    view = Shared(served.page, clock, FRESH_S)
    handlers = {
        "/": _page(view, served.rendering),
        "/page.json": _shown(view, _page_json),
        "/metrics": _metrics(served.registry),
        "/live": _verdict(served.live, "live", "dead"),
        "/ready": _verdict(served.ready, "ready", "unready"),
        **({} if served.search is None else {"/search": _search(served.search)}),
    }
    app = Starlette(
        routes=[
            Route(path, partial(_answered, h), methods=["GET"]) for path, h in handlers.items()
        ],
        middleware=[
            Middleware(guard.hardened),
            Middleware(guard.guarded, access=access),
        ],
        exception_handlers={HTTPException: _http_error},
    )
    app.router.redirect_slashes = False
    return app


Handler = Callable[[Request], Awaitable[Response]]


async def _answered(handler: Handler, request: Request) -> Response:
    """Return the response in time, or one that says why there is none."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await handler(request)
    except TimeoutError:
        return guard.refused(503, f"no response within {PATIENCE_S:.0f} s", "try it again later")
    except FatalError as error:
        return guard.refused(400, error.message, error.hint)
    except PinpipError as error:
        return guard.refused(503, error.message, error.hint)
    except Exception:  # noqa: BLE001  # the next request may succeed
        _log.exception("page_failed", path=request.url.path)
        return guard.refused(500, "an unexpected error; the log of the process has it")


Encoded = tuple[bytes, Mapping[str, str]]
"""A response's body and headers."""


def _shown(view: Shared[PageView], encode: Callable[[PageView], Encoded]) -> Handler:
    """Return what shows `view`; requests at the same time are encoded once."""
    one = asyncio.Lock()
    last: tuple[PageView, Encoded] | None = None

    async def answer(_request: Request) -> Response:
        nonlocal last
        async with one:
            shown = await view()
            if last is None or last[0] is not shown:
                last = shown, await in_thread(lambda: encode(shown))
        body, headers = last[1]
        return Response(body, headers=headers)

    return answer


def _page(view: Shared[PageView], rendering: Rendering) -> Handler:
    def encode(shown: PageView) -> Encoded:
        nonce = secrets.token_urlsafe(16)
        policy = {"content-security-policy": rendering.policy.format(nonce=nonce)}
        return rendering.whole(shown, nonce).encode(), _HTML | policy

    whole = _shown(view, encode)
    main = _shown(view, lambda shown: (rendering.main(shown).encode(), _HTML))

    async def answer(request: Request) -> Response:
        return await (main if request.query_params.get("part") == "main" else whole)(request)

    return answer


def _page_json(view: PageView) -> Encoded:
    return msgspec.json.encode(view), {"content-type": "application/json"}


def _metrics(registry: CollectorRegistry) -> Handler:
    one = asyncio.Semaphore(1)

    async def answer(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        async with one:
            body = await in_thread(lambda: encode(registry))
        headers = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
        if gzip_accepted(request.headers.get("accept-encoding", "")):
            headers["content-encoding"] = "gzip"
            body = await in_thread(lambda: gzip.compress(body, 6))
        return Response(body, headers=headers)

    return answer


def _verdict(fault: Callable[[], str | None], good: str, bad: str) -> Handler:
    async def answer(request: Request) -> Response:
        reason = fault()
        told = {"status": good if reason is None else bad}
        if request.scope[guard.KNOWN]:
            told["reason"] = reason or ""
        return _json(msgspec.json.encode(told), 200 if reason is None else 503)

    return answer


def _search(search: Callable[[Mapping[str, str]], Any]) -> Handler:
    some = asyncio.Semaphore(SEARCHES)

    async def answer(request: Request) -> Response:
        query = dict(request.query_params)
        async with some:
            return _json(await in_thread(lambda: msgspec.json.encode(search(query))))

    return answer


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


def _http_error(_request: Request, error: Exception) -> Response:
    """Return the response for an unknown path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101  # as it is registered
    response = guard.refused(error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response
