"""The gateway process: build it from the configuration, listen, and shut down gracefully."""

import asyncio
import socket
from collections.abc import Callable, Collection
from types import FrameType
from typing import TYPE_CHECKING, cast

import uvicorn
from botocore.config import Config as BotoConfig
from starlette.applications import Starlette

from core import aws, kafka
from core.config import Aws, Config, Gateway
from core.errors import FatalError
from gateway.app import create_app
from gateway.http.connection import PROBES, ConnectionLimit, HttpConnection
from gateway.http.handshake import accept, server_context
from gateway.kafka.cluster import KafkaCluster
from gateway.kafka.producer import KafkaProducer

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

DRAIN_TIMEOUT_S = 30
BACKLOG = 2048
THREADS = 40  # the size of starlette's thread pool, which makes the calls to Kinesis
_ONE_ATTEMPT = BotoConfig(
    connect_timeout=3,
    read_timeout=20,
    max_pool_connections=THREADS,
    retries={"total_max_attempts": 1, "mode": "standard"},
)


def serve(config: Config, ready: Callable[[], None]) -> None:
    """Serve in the foreground until SIGTERM or SIGINT; call `ready` when the socket listens.

    At the end requests in progress have DRAIN_TIMEOUT_S to complete. `config` is resolved.
    Raises FatalError when the address cannot be listened on, ConfigError for bad properties.
    """
    with listen(config.gateway) as listener:
        brokers = kafka.properties(config) if config.kafka else None
        app = create_app(
            config.gateway,
            None if brokers is None else KafkaProducer(brokers),
            None if brokers is None else KafkaCluster(brokers),
            kinesis_client(config.aws),
            served_topics(config),
        )
        GatewayServer(app, config.gateway, ready).run(sockets=[listener])


def served_topics(config: Config) -> Collection[str]:
    """Return the topics that the pipelines read: they are known before their first record."""
    return {topic for p in config.pipelines.values() for topic in p.source.plain_topics}


def kinesis_client(own: Aws) -> "KinesisClient":
    """Return a client without retries and with a timeout below API Gateway's: callers retry."""
    made: KinesisClient = aws.client(own, "kinesis", _ONE_ATTEMPT, lazily=True)
    return made


def connections(settings: Gateway) -> type[HttpConnection]:
    """Return the protocol class of a gateway with these settings."""
    stages = {"", f"/{settings.stage}".rstrip("/")}
    own = {
        "settings": settings,
        "limit": ConnectionLimit(settings.max_connections),
        "probes": {f"{stage}{path}".encode() for stage in stages for path in PROBES},
    }
    return type("Connection", (HttpConnection,), own)


class GatewayServer(uvicorn.Server):
    """uvicorn's server, which reports that it listens, and stays ready for a while at its end."""

    def __init__(self, app: Starlette, settings: Gateway, ready: Callable[[], None]) -> None:
        super().__init__(_uvicorn(app, settings))
        self._app = app
        self._wait = settings.drain_wait
        self._ready = ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tls = server_context(settings.tls) if settings.tls else None
        self._accepting: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then call `ready`."""
        self._loop = asyncio.get_running_loop()
        if self._tls is None:
            await super().startup(sockets)
        else:
            await super().startup([])
            tasks = [accept(s, self._tls, self._connection) for s in sockets or []]
            self._accepting = [self._loop.create_task(task) for task in tasks]
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and wait for the open ones."""
        for task in self._accepting:
            task.cancel()
        await super().shutdown(sockets)

    def _connection(self) -> HttpConnection:
        """Return the protocol of the next connection, made as uvicorn makes it."""
        made = self.config.http_protocol_class
        return cast(
            "HttpConnection",
            made(
                config=self.config,  # type: ignore[call-arg]
                server_state=self.server_state,
                app_state=self.lifespan.state,
            ),
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGTERM or SIGINT report that the gateway is not ready, and exit after `drain_wait`.

        A second signal exits at once. uvicorn itself would raise the signal again after its exit.
        """
        del sig, frame
        readiness, loop = self._app.state.readiness, self._loop
        if loop is None or readiness.draining:
            self._exit()
        else:
            loop.call_soon_threadsafe(loop.call_later, self._wait, self._exit)
        readiness.draining = True

    def _exit(self) -> None:
        self.should_exit = True


def _uvicorn(app: Starlette, own: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=connections(own),
        lifespan="on",
        ws="none",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
    )


def listen(settings: Gateway) -> socket.socket:
    """Return the listening socket; raises FatalError when the address cannot be listened on."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server(
            (settings.host, settings.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        # create_server adds the address to the text of some errors
        reason = (error.strerror or str(error)).partition(" (while ")[0]
        raise FatalError(
            f"the gateway cannot listen on {settings.host}:{settings.port}: {reason}",
            "stop what listens there, or change gateway.host or gateway.port in config.yaml",
        ) from error
    # asyncio sets it only on sockets with a known protocol; without it responses take 40 ms more
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: ends connections of clients that do not read
        timeout = int(settings.request_timeout * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)
    return listener
