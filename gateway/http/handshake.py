"""TLS handshakes: each counts as a connection from its accept on, and has a deadline.

A server of asyncio makes a connection known only after its handshake, and waits 60 s for that.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from core.config import Tls
from core.errors import FatalError
from gateway.http.connection import Connection
from gateway.http.places import RESERVE_SECONDS

_FULL_SECONDS = 1.0  # to wait when no file is left for a socket, as asyncio does


def server_context(tls: Tls) -> ssl.SSLContext:
    """The context of a server with this certificate; raises FatalError if it cannot be used."""
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
    listener: socket.socket, context: ssl.SSLContext, made: Callable[[], Connection]
) -> None:
    """Accept connections until cancelled; `made` gives what serves the next one over TLS."""
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
            await asyncio.sleep(_FULL_SECONDS)
        else:
            return client


class _Handshake(asyncio.Protocol):
    """Holds a place as an idle connection does, then gives way to the connection over TLS."""

    def __init__(self, client: socket.socket, connection: Connection) -> None:
        self._client = client
        self._connection = connection
        self._places = connection.places
        self._patience = connection.settings.request_timeout
        connection.connections.add(self)  # type: ignore[arg-type]  # what uvicorn asks of them
        if self._places.has_room(self, len(connection.connections)):
            self._places.idle(self)
        else:
            self._patience = min(self._patience, RESERVE_SECONDS)

    async def shake(self, context: ssl.SSLContext) -> None:
        """Serve the client if the handshake is done in time; else it is cut off."""
        loop = asyncio.get_running_loop()
        try:
            with suppress(OSError):  # no TLS, too late, gone
                await loop.connect_accepted_socket(
                    lambda: self,
                    self._client,
                    ssl=context,
                    ssl_handshake_timeout=self._patience,
                    ssl_shutdown_timeout=self._connection.settings.request_timeout,
                )
        finally:
            self._done()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The handshake is done: the connection takes a place itself."""
        self._done()
        transport.set_protocol(self._connection)
        self._connection.connection_made(transport)

    def leave(self) -> None:
        """Give way to another connection: the handshake fails."""
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    refuse = shutdown = leave  # without TLS nothing can be said

    def _done(self) -> None:
        self._connection.connections.discard(self)
        self._places.busy(self)
        self._places.served(self)
