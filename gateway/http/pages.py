"""Which web pages may send requests: their Origin, the Host that they name, CORS.

A page of any site can make a browser send requests to loopback or into a private network. A site
whose own name resolves there (DNS rebinding) even has the gateway's origin. Therefore an Origin
must be the gateway's or an allowed one, and without keys the Host must be a name of the gateway.
The third rule is in the routes: they refuse the media types that a form can send.
"""

import ipaddress
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from functools import lru_cache

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from core.config import Gateway
from gateway.http.responses import reply

METHODS = ("DELETE", "GET", "HEAD", "POST", "PUT")
SENT = ("Content-Encoding", "Idempotency-Key", "Idempotency-Scope", "x-api-key")
READ = ("Idempotency-Replayed", "Idempotency-Scope", "Retry-After")
PREFLIGHT_SECONDS = 600
_LOOPBACK = ("localhost", "*.localhost")
_DEFAULT_PORTS = (":80", ":443")


def admitted(app: ASGIApp, settings: Gateway, public: Collection[str]) -> ASGIApp:
    """`app`, with 403 for other hosts and origins than the settings', except on `public` paths."""
    has_host = _named(settings)

    async def admit(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in public:
            refusal = _refusal(Headers(scope=scope), has_host, settings.cors_origins)
            if refusal is not None:
                await reply({"message": f"Forbidden: {refusal}"}, 403)(scope, receive, send)
                return
        await app(scope, receive, send)

    return admit


def shared(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """`app` with CORS headers and preflight answers for `origins`, if there are any."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=SENT,
        allow_private_network=True,
        expose_headers=READ,
        max_age=PREFLIGHT_SECONDS,
    )


def _refusal(
    headers: Headers, has_host: Callable[[str], bool], origins: Collection[str]
) -> str | None:
    """Why the request is refused, or None."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if host and not has_host(host):
        return f"the host {host} is not this gateway's; add it to gateway.hosts"
    if origin is None or origin in origins or "*" in origins or _is_same(origin, host):
        return None
    return f"pages of {origin} may not send here; add it to gateway.cors_origins"


def _is_same(origin: str, host: str) -> bool:
    """Whether the page came from `host`; a proxy before the gateway may have changed the scheme."""
    return _bare(origin.partition("://")[2]) == _bare(host) != ""


def _bare(authority: str) -> str:
    lower = authority.lower()
    return next((lower.removesuffix(p) for p in _DEFAULT_PORTS if lower.endswith(p)), lower)


def _named(settings: Gateway) -> Callable[[str], bool]:
    """Return whether a Host names the gateway: an address, loopback, or one of `settings`.

    DNS rebinding needs a name, so every address is accepted. With keys and without `hosts` every
    name is.
    """
    patterns = [pattern.lower() for pattern in (settings.host, *settings.hosts, *_LOOPBACK)]
    if settings.api_keys and not settings.hosts:
        patterns = ["*"]

    @lru_cache(1000)
    def has(host: str) -> bool:
        name = _without_port(host).lower().rstrip(".")
        return _is_address(name) or any(fnmatchcase(name, pattern) for pattern in patterns)

    return has


def _without_port(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
