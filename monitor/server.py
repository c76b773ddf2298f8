"""Serve the routes in a daemon thread, beside the loops: it neither delays nor outlives them."""

import asyncio
import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import uvicorn

from core.clock import Clock
from core.errors import FatalError
from monitor.app import Served, create_app
from monitor.connection import MAX_CONNECTIONS, MAX_HEAD, Connection
from monitor.guard import Access

KEEP_ALIVE_S = 5
UNREAD_S = 20  # a client that reads nothing for so long is given up
ENDS_S = 2.0  # how long the end of the process waits for the server


@dataclass(frozen=True)
class Address:
    """Where to listen. `is_open`: other machines may read without a key.

    `options`: what the command line calls host, port and `is_open`, for errors.
    """

    host: str = "127.0.0.1"
    port: int = 0
    is_open: bool = False
    options: tuple[str, str, str] = ("--metrics-host", "--metrics-port", "--allow-remote")


@contextmanager
def serving(served: Served, address: Address, access: Access, clock: Clock) -> Iterator[str]:
    """Serve while the block runs; yield the URL.

    Raises FatalError before anything is served: the address cannot be listened on, or it is not
    loopback and nothing keeps strangers out. `access.own` is completed with the address's host.
    """
    listeners = listen(address, keyed=bool(access.api_keys))
    own = Access(address.host, access.hosts, access.api_keys)
    server = Server(_config(served, own, clock))
    thread = threading.Thread(target=server.run, args=(listeners,), name="monitor", daemon=True)
    thread.start()
    try:
        yield _url(listeners[0])
    finally:
        server.stop()
        thread.join(ENDS_S)


class Server(uvicorn.Server):
    """uvicorn's server, which wakes up once a second, not ten times: the loops need the CPU."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends = asyncio.Event()

    async def main_loop(self) -> None:
        """Renew the header Date each second until the end."""
        self._loop = asyncio.get_running_loop()
        while not self.should_exit:
            await self.on_tick(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._ends.wait()

    def stop(self) -> None:
        """End soon; may be called from any thread."""
        self.should_exit = True
        with suppress(RuntimeError):  # it has ended
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._ends.set)


def _config(served: Served, access: Access, clock: Clock) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(served, access, clock),
        http=Connection,
        loop="asyncio",
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="critical",  # what hostile clients send is no news
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=MAX_HEAD,
    )


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(address: Address, *, keyed: bool) -> list[socket.socket]:
    """Return a listening socket for each address that the host has; FatalError when one fails."""
    resolved = _resolved(address)
    if not (keyed or address.is_open or all(map(_is_loopback, resolved))):
        host, _, remote = address.options
        raise FatalError(
            f"{host} {address.host or repr('')} is reachable from other machines, and no key "
            "keeps strangers out",
            f"set monitor.api_keys in config.yaml (pinpip config api-key NAME), or add {remote}",
        )
    listeners: list[socket.socket] = []
    try:
        for host in resolved:
            listeners.append(_listener(host, address.port))  # noqa: PERF401  # closed on errors
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise _refusal(address, error) from error
    return listeners


def _resolved(address: Address) -> list[str]:
    """Return the addresses of the host, each once."""
    try:
        found = socket.getaddrinfo(
            address.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no host name"
        raise FatalError(
            f"the host {address.host!r} cannot be resolved: {reason}",
            f"give {address.options[0]} an address of this machine: 127.0.0.1, ::1, 0.0.0.0 or ::",
        ) from error
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()  # it also means all of IPv4
    listener = socket.create_server(
        (host, port), family=family, backlog=MAX_CONNECTIONS, dualstack_ipv6=both
    )
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_S * 1000)
    return listener


def _refusal(address: Address, error: OSError) -> FatalError:
    host, port, _ = address.options
    hints = {
        errno.EACCES: f"name a {port} from 1024 up: lower ones need rights",
        errno.EADDRNOTAVAIL: f"give {host} an address that this machine has",
    }
    reason = os.strerror(error.errno) if error.errno else str(error)
    where = f"[{address.host}]" if ":" in address.host else address.host
    return FatalError(
        f"the status page cannot be served on {where}:{address.port}: {reason}",
        hints.get(error.errno or 0, f"stop what listens there, or name another {port}"),
    )
