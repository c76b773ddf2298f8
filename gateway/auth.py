"""The API key, asked as API Gateway asks it."""

import hmac
from collections.abc import Collection

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.answers import reply

HEADER = "x-api-key"


def key_is_valid(keys: Collection[SecretStr], given: str | None) -> bool:
    """Whether `given` is one of `keys`, in a time that does not tell how much of it is right."""
    offered = (given or "").encode("latin-1")  # the bytes of the header
    matches = [hmac.compare_digest(offered, key.get_secret_value().encode()) for key in keys]
    return any(matches)


def guard(app: ASGIApp, keys: Collection[SecretStr], public: Collection[str]) -> ASGIApp:
    """`app` behind its keys: 403 as API Gateway says it, except for the paths in `public`.

    Without keys everyone is let in.
    """

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        http = scope["type"] == "http"
        if keys and http and scope["path"] not in public:
            given = Headers(scope=scope).get(HEADER)
            if not key_is_valid(keys, given):
                await reply({"message": "Forbidden"}, 403)(scope, receive, send)
                return
        await app(scope, receive, send)

    return guarded
