"""The process: from the configuration to a listening gateway, and its graceful end."""

import asyncio
import socket
from collections.abc import Callable, Collection
from types import FrameType
from typing import TYPE_CHECKING, cast

import uvicorn
from botocore.config import Config as BotoConfig
from starlette.applications import Starlette

from core import aws, kafka
from core.config import Aws, Config, Gateway, KafkaSource
from core.errors import FatalError
from gateway.app import create_app
from gateway.http.connection import Connection, connections
from gateway.http.handshake import accept, server_context
from gateway.kafka.cluster import KafkaCluster
from gateway.kafka.producer import KafkaProducer

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

DRAIN_SECONDS = 30
BACKLOG = 2048
THREADS = 40  # as many calls to Kinesis as starlette's thread pool makes at once
_ONCE = BotoConfig(
    connect_timeout=3,
    read_timeout=20,
    max_pool_connections=THREADS,
    retries={"total_max_attempts": 1, "mode": "standard"},
)


def serve(config: Config, ready: Callable[[], None]) -> None:
    """Serve in the foreground until SIGTERM or SIGINT; `ready` is called once it listens.

    What is under way then gets its answer, DRAIN_SECONDS at most. `config` is resolved.
    Raises FatalError when the address cannot be listened on, ConfigError for bad properties.
    """
    with listen(config.gateway) as listener:
        app = create_app(
            config.gateway,
            KafkaProducer(kafka.properties(config)),
            KafkaCluster(kafka.properties(config)),
            kinesis_client(config.aws),
            served_topics(config),
        )
        GatewayServer(app, config.gateway, ready).run(sockets=[listener])


def served_topics(config: Config) -> Collection[str]:
    """The topics that the pipelines read: known even before their first record."""
    sources = [pipeline.source for pipeline in config.pipelines.values()]
    return {topic for s in sources if isinstance(s, KafkaSource) for topic in s.plain}


def kinesis_client(own: Aws) -> "KinesisClient":
    """A client that tries once, in less time than API Gateway waits: callers decide to retry."""
    made: KinesisClient = aws.client(own, "kinesis", _ONCE, lazily=True)
    return made


class GatewayServer(uvicorn.Server):
    """uvicorn, telling when it listens, and draining before it stops to."""

    def __init__(self, app: Starlette, settings: Gateway, ready: Callable[[], None]) -> None:
        super().__init__(_uvicorn(app, settings))
        self._app = app
        self._wait = settings.drain_wait
        self._ready = ready
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tls = server_context(settings.tls) if settings.tls else None
        self._accepting: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        self._loop = asyncio.get_running_loop()
        if self._tls is None:
            await super().startup(sockets)
        else:
            await super().startup([])
            tasks = [accept(s, self._tls, self._connection) for s in sockets or []]
            self._accepting = [self._loop.create_task(task) for task in tasks]
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and let the connections end."""
        for task in self._accepting:
            task.cancel()
        await super().shutdown(sockets)

    def _connection(self) -> Connection:
        """What serves the next connection, made as uvicorn makes it."""
        made = self.config.http_protocol_class
        return cast(
            "Connection",
            made(
                config=self.config,  # type: ignore[call-arg]
                server_state=self.server_state,
                app_state=self.lifespan.state,
            ),
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGTERM and SIGINT say that this process is not ready any more, and end it soon.

        uvicorn would raise the signal again at its end; a second one ends without the drain.
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
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def listen(settings: Gateway) -> socket.socket:
    """The socket to serve on; raises FatalError when the address cannot be listened on."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server(
            (settings.host, settings.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        raise FatalError(
            f"the gateway cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            "stop what listens there, or change gateway.host or gateway.port in config.yaml",
        ) from error
    # asyncio sets it only on sockets that name their protocol; without it answers take 40 ms more
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: ends clients that do not take their answers
        patience = int(settings.request_timeout * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
    return listener
