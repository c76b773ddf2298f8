"""TLS handshakes: each one counts as a connection, and has a timeout.

asyncio's own server reports a connection only after its handshake, for which it waits 60 s.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from core.config import Tls
from core.errors import FatalError
from gateway.http.connection import RESERVE_TIMEOUT_S, HttpConnection

_NO_FILE_WAIT_S = 1.0  # asyncio's wait when the process has no file descriptor left


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the TLS context of a server with this certificate; FatalError if it is unusable."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        raise FatalError(
            f"the gateway cannot use {tls.certificate} and {tls.key}: {error.strerror or error}",
            "gateway.tls in config.yaml: name a PEM file with the certificate and one with its key",
        ) from error
    return context


async def accept(
    listener: socket.socket, context: ssl.SSLContext, made: Callable[[], HttpConnection]
) -> None:
    """Accept connections until cancelled; `made` returns the protocol of the next one."""
    listener.setblocking(False)  # noqa: FBT003  # the name is the standard library's
    loop, handshakes = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    try:
        while True:
            client = await _next(listener)
            task = loop.create_task(_Handshake(client, made()).shake(context))
            handshakes.add(task)
            task.add_done_callback(handshakes.discard)
    finally:
        for task in handshakes:
            task.cancel()


async def _next(listener: socket.socket) -> socket.socket:
    while True:
        try:
            client, _ = await asyncio.get_running_loop().sock_accept(listener)
        except ConnectionAbortedError:
            continue
        except OSError:
            await asyncio.sleep(_NO_FILE_WAIT_S)
        else:
            return client


class _Handshake(asyncio.Protocol):
    """A handshake counts as an idle connection; when it is done, the HttpConnection replaces it."""

    def __init__(self, client: socket.socket, connection: HttpConnection) -> None:
        self._client = client
        self._connection = connection
        self._limit = connection.limit
        self._timeout = connection.settings.request_timeout
        connection.connections.add(self)  # type: ignore[arg-type]  # uvicorn only calls `shutdown`
        if self._limit.admits(self, len(connection.connections)):
            self._limit.set_idle(self)
        else:
            self._timeout = min(self._timeout, RESERVE_TIMEOUT_S)

    async def shake(self, context: ssl.SSLContext) -> None:
        """Serve the client if the handshake succeeds in time; otherwise close the connection."""
        loop = asyncio.get_running_loop()
        try:
            with suppress(OSError):  # no TLS, a timeout, or a closed connection
                await loop.connect_accepted_socket(
                    lambda: self,
                    self._client,
                    ssl=context,
                    ssl_handshake_timeout=self._timeout,
                    ssl_shutdown_timeout=self._connection.settings.request_timeout,
                )
        finally:
            self._finish()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Hand the transport over to the HttpConnection after the handshake."""
        self._finish()
        transport.set_protocol(self._connection)
        self._connection.connection_made(transport)

    def close_idle(self) -> None:
        """Close the connection: the handshake fails."""
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    refuse = shutdown = close_idle  # before the handshake no response can be sent

    def _finish(self) -> None:
        self._connection.connections.discard(self)
        self._limit.set_busy(self)
        self._limit.leave_reserve(self)
