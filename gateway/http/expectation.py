"""`Expect: 100-continue`: a client announces a body that it may never send."""

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def last_if_refused(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """Return `app`, with the connection closed by a response before 100 Continue.

    After such a response the client may send its body or omit it (RFC 9110, 10.1.1): the next
    bytes on the connection are ambiguous.
    """

    async def served(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def send_last(message: ASGISendEvent) -> None:
            if cycle.waiting_for_100_continue:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, send_last)

    return served
