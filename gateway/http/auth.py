"""The API key, asked as API Gateway asks it."""

import hashlib
import secrets
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.http.responses import reply

HEADER = "x-api-key"
CALLER = "pinpip.caller"
"""Where the request's scope holds the name of the key's holder."""


def new_key() -> tuple[str, str]:
    """A key to hand out (256 random bits), and the hash to keep of it."""
    key = secrets.token_urlsafe(32)
    return key, hashed(key.encode())


def hashed(key: bytes) -> str:
    """What the configuration holds of a key: it cannot be turned back, for keys are random."""
    return f"sha256:{hashlib.sha256(key).hexdigest()}"


def guard(app: ASGIApp, keys: Mapping[str, str], public: Collection[str]) -> ASGIApp:
    """`app` behind its keys: 403 as API Gateway says it, except for the paths in `public`.

    `keys`: hashes by the names of their holders. Without keys everyone is let in.
    """
    holders = {digest: name for name, digest in keys.items()}

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if holders and scope["type"] == "http":
            given = Headers(scope=scope).get(HEADER, "")
            scope[CALLER] = holders.get(hashed(given.encode("latin-1")))  # the header's bytes
            if scope[CALLER] is None and scope["path"] not in public:
                await reply({"message": "Forbidden"}, 403)(scope, receive, send)
                return
        await app(scope, receive, send)

    return guarded
