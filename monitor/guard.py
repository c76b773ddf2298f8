"""Who may read: Host, Origin and keys of each request, and the headers that bind a browser."""

import base64
import binascii
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.web import API_KEY, hashed, is_same, named

KNOWN = "pinpip.known"
"""The key of the ASGI scope: whether the caller may be told everything."""
PROBES = ("/live", "/ready")
_HOSTLESS = (*PROBES, "/metrics")  # for probes and scrapers, which name a server as they like
_CHALLENGES = ('Basic realm="pinpip", charset="UTF-8"', 'Bearer realm="pinpip"')


@dataclass(frozen=True)
class Access:
    """Who may read. `own`: the name that the server listens on; `api_keys`: hashes by holder."""

    own: str = "localhost"
    hosts: Collection[str] = ()
    api_keys: Mapping[str, str] = field(default_factory=dict)


_BINDING = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def hardened(app: ASGIApp) -> ASGIApp:
    """Return `app` with headers that keep a browser from storing, framing and guessing."""

    async def bound(scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _BINDING.items():
                    headers.setdefault(name, value)
            await send(message)

        await app(scope, receive, add)

    return bound


def guarded(app: ASGIApp, access: Access) -> ASGIApp:
    """Return `app` for those that `access` lets in; probes are served, but told no reason.

    A request with a body is refused: no route takes one.
    """
    has_host = named(access.own, access.hosts, keyed=bool(access.api_keys))
    digests = set(access.api_keys.values())

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        scope[KNOWN] = not digests or not digests.isdisjoint(map(hashed, _given(headers)))
        response = (
            _bodiless(headers)
            or _foreign(headers, has_host, path)
            or (None if scope[KNOWN] or path in PROBES else _unknown(headers))
        )
        handle: Callable[[Scope, Receive, Send], Awaitable[None]] = response or app
        await handle(scope, receive, send)

    return guard


def _bodiless(headers: Headers) -> Response | None:
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return None
    refusal = refused(413, "a request has no body here")
    refusal.headers["connection"] = "close"  # what follows is not read
    return refusal


def _foreign(headers: Headers, has_host: Callable[[str], bool], path: str) -> Response | None:
    host, origin = headers.get("host", ""), headers.get("origin")
    if host and path not in _HOSTLESS and not has_host(host):
        return refused(403, f"the host {host} is not this server's; add it to monitor.hosts")
    if origin is not None and not is_same(origin, host):
        return refused(403, f"pages of {origin} may not read here")
    return None


def _given(headers: Headers) -> list[bytes]:
    """Return the keys of a request, as its bytes."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    keys = [headers.get(API_KEY, "").encode("latin-1")]
    if scheme.lower() == "bearer":
        keys.append(value.encode("latin-1"))
    elif scheme.lower() == "basic":
        keys.append(_password(value))
    return keys


def _password(basic: str) -> bytes:
    try:
        return base64.b64decode(basic, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


def _unknown(headers: Headers) -> Response:
    """Return 401; a browser then asks for name and password, of which the password is the key."""
    refusal = refused(401, "a key is needed: as x-api-key, as bearer token or as password")
    for challenge in _CHALLENGES if "text/html" in headers.get("accept", "") else _CHALLENGES[1:]:
        refusal.headers.append("www-authenticate", challenge)
    return refusal


def refused(status: int, reason: str, hint: str = "") -> Response:
    """Return an error response, as JSON."""
    more = {"next": hint} if hint else {}
    return JSONResponse({"status": "error", "reason": reason, **more}, status)
