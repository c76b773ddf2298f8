"""`Expect: 100-continue`: the body that a client announces and may never send."""

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def last_if_refused(cycle: RequestResponseCycle, app: ASGI3Application) -> ASGI3Application:
    """`app`, with the connection ended by an answer before the body was asked for.

    The client then sends its body or goes on without it: nobody knows which (RFC 9110, 10.1.1).
    """

    async def served(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def answer(message: ASGISendEvent) -> None:
            if cycle.waiting_for_100_continue:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, answer)

    return served
