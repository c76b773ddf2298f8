"""Run a real Apache Kafka from Maven Central's jars; needs Java 17 and Maven.

One KRaft node (broker and controller) on free ports of 127.0.0.1, without Docker.
"""

import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from core.clock import Clock, SystemClock
from core.errors import FatalError
from pinpip.child import Held
from pinpip.folders import writing
from pinpip.local.jars import jars, last_lines, run, tool

START_TIMEOUT_S = 180.0  # a busy machine is slow; an early exit is noticed immediately
STOP_TIMEOUT_S = 20.0
# For a broker that is killed and restarted: the controller must first fence the old one. Not a
# default: on a busy machine the controller would fence a running broker too.
FAST_FENCING = {"broker.heartbeat.interval.ms": "500", "broker.session.timeout.ms": "3000"}


@dataclass(frozen=True)
class SecuredListener:
    """A second listener, GUARDED, beside the plaintext one.

    `users`: passwords for SCRAM-SHA-512 by user name; created with the log folder.
    """

    protocol: str
    users: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Membership:
    """What makes a broker one node of a cluster, beside its properties.

    `bootstrap`: the address of its listener for clients. `cluster`: the id that all nodes share.
    `java`: options of its JVM, the heap's size too.
    """

    bootstrap: str
    cluster: str
    java: tuple[str, ...]


class KafkaProcess:
    """A broker process over one log folder; it can be stopped, killed and restarted.

    `bootstrap`: the address of the plaintext listener. `guarded`: that of the secured listener.
    """

    def __init__(
        self,
        folder: Path,
        properties: Mapping[str, str],
        clock: Clock,
        guard: SecuredListener | None = None,
        held: Held = nullcontext,
        *,
        node: Membership | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self._held = held
        ports = (free_port(), free_port(), free_port())
        self.bootstrap, self._controller, self.guarded = (f"127.0.0.1:{port}" for port in ports)
        self._node = node or Membership(self.bootstrap, uuid4().hex[:22], ("-Xmx768m",))
        self.bootstrap = self._node.bootstrap
        self._guard = guard
        self._clock = clock
        self._classpath = f"{jars()}/*"
        self._process: subprocess.Popen[bytes] | None = None
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_settings(properties)
        self._format()

    @property
    def pid(self) -> int | None:
        """The broker's process id, None when it does not run."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start on the same ports and log folder; return when the broker responds."""
        with (self.folder / "kafka.log").open("ab") as log, self._held():
            self._process = subprocess.Popen(  # noqa: S603  # the broker itself
                self._java(*self._node.java, "kafka.Kafka", str(self._settings)),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._await_response(self._process)

    def stop(self) -> None:
        """Stop it with SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop it with SIGKILL."""
        self._end(signal.SIGKILL)

    def check(self) -> None:
        """Raise FatalError when the broker has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise FatalError(
                f"Apache Kafka ended with code {self._process.returncode}: "
                f"{self._last_log_lines()}",
                f"the whole log is {self.folder / 'kafka.log'}; start the stack again",
            )

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _await_response(self, process: subprocess.Popen[bytes]) -> None:
        admin = AdminClient(
            {
                "bootstrap.servers": self.bootstrap,
                "log_level": 0,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 200,
            }
        )
        deadline = self._clock.monotonic() + START_TIMEOUT_S
        while not _responds(admin):
            if process.poll() is not None or self._clock.monotonic() > deadline:
                self.kill()
                raise FatalError(
                    f"Apache Kafka did not start: {self._last_log_lines()}",
                    f"the whole log is {self.folder / 'kafka.log'}",
                )

    def _last_log_lines(self) -> str:
        return last_lines((self.folder / "kafka.log").read_text("utf-8", "replace"))

    def _java(self, *arguments: str) -> list[str]:
        return [tool("java"), "-cp", self._classpath, *arguments]

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    def _write_settings(self, properties: Mapping[str, str]) -> None:
        lines = [f"{name}={value}" for name, value in (self._defaults() | dict(properties)).items()]
        self._settings.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _defaults(self) -> dict[str, str]:
        clients = f"PLAINTEXT://{self.bootstrap}"
        protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"
        if self._guard:
            clients += f",GUARDED://{self.guarded}"
            protocols += f",GUARDED:{self._guard.protocol}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{self._controller}",
            "listeners": f"{clients},CONTROLLER://{self._controller}",
            "advertised.listeners": clients,
            "listener.security.protocol.map": protocols,
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.folder / "logs"),
            "num.partitions": "4",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }

    def _format(self) -> None:
        if (self.folder / "logs" / "meta.properties").exists():
            return
        users = self._guard.users if self._guard else {}
        scram = [f"SCRAM-SHA-512=[name={u},password={secret}]" for u, secret in users.items()]
        command = self._java(
            *("-Xmx256m", "kafka.tools.StorageTool"),
            *("format", "-t", self._node.cluster, "-c", str(self._settings)),
            *(word for user in scram for word in ("--add-scram", user)),
        )
        run(command, "Apache Kafka's storage could not be formatted")


@contextmanager
def real_kafka(
    folder: Path,
    *,
    properties: Mapping[str, str] | None = None,
    guard: SecuredListener | None = None,
    clock: Clock | None = None,
    held: Held = nullcontext,
) -> Iterator[KafkaProcess]:
    """Run Apache Kafka over `folder` while the block runs; an existing folder is reused.

    `held`: a block that no signal interrupts. `properties` go into server.properties. Raises
    FatalError when Java or Maven is missing or the broker does not start.
    """
    kafka = KafkaProcess(folder, properties or {}, clock or SystemClock(), guard, held)
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.stop()


def _responds(admin: AdminClient) -> bool:
    try:
        return bool(admin.list_topics(timeout=0.5).brokers)
    except KafkaException:
        return False


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
