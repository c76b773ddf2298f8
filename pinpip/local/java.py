"""A real Apache Kafka on this machine from Maven Central's jars; needs Java 17 and Maven.

One KRaft node (broker and controller) on free ports of loopback, without Docker or installation.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from core.clock import Clock, SystemClock
from core.errors import FatalError
from pinpip.folders import writing

VERSION = "4.1.0"
STARTUP = 180.0  # a busy machine takes its time; a dead process is noticed at once
SHUTDOWN = 20.0
# For a broker that is to be killed: its successor waits until the controller has given it up. On a
# busy machine a living one may be given up too, so it is nobody's default.
SOON_BACK = {"broker.heartbeat.interval.ms": "500", "broker.session.timeout.ms": "3000"}
_ARTIFACTS = ("kafka_2.13", "kafka-tools")
_DEPENDENCY = (
    "<dependency><groupId>org.apache.kafka</groupId>"
    "<artifactId>{}</artifactId><version>{}</version></dependency>"
)
_POM = (
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    "<groupId>pinpip</groupId><artifactId>kafka</artifactId><version>1</version>"
    "<dependencies>%s</dependencies></project>"
)


@dataclass(frozen=True)
class Guard:
    """A second listener, GUARDED, beside the open one.

    `users` and their passwords for SCRAM-SHA-512; they are made when the log folder is.
    """

    protocol: str
    users: Mapping[str, str] = field(default_factory=dict)


class Kafka:
    """A broker's process over one log folder; it can be stopped, killed and started again.

    `bootstrap` is the open listener's address, `guarded` that of `guard`'s.
    """

    def __init__(
        self, folder: Path, properties: Mapping[str, str], clock: Clock, guard: Guard | None = None
    ) -> None:
        self.folder = folder.absolute()
        ports = (free_port(), free_port(), free_port())
        self.bootstrap, self._controller, self.guarded = (f"127.0.0.1:{port}" for port in ports)
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
        """The broker's process, when it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start on the same ports and log folder; returns when the broker answers."""
        with (self.folder / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # the broker itself
                self._java("kafka.Kafka", str(self._settings), heap="-Xmx768m"),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._await_answer(self._process)

    def stop(self) -> None:
        """Stop it as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop it as a power cut would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop, then start."""
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(SHUTDOWN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        admin = AdminClient(
            {
                "bootstrap.servers": self.bootstrap,
                "log_level": 0,
                "reconnect.backoff.ms": 50,
                "reconnect.backoff.max.ms": 200,
            }
        )
        deadline = self._clock.monotonic() + STARTUP
        while not _answers(admin):
            if process.poll() is not None or self._clock.monotonic() > deadline:
                self.kill()
                raise FatalError(
                    f"Apache Kafka did not start: {self._last_words()}",
                    f"the whole log is {self.folder / 'kafka.log'}",
                )

    def _last_words(self) -> str:
        return _last_lines((self.folder / "kafka.log").read_text("utf-8", "replace"))

    def _java(self, main: str, *arguments: str, heap: str = "-Xmx256m") -> list[str]:
        return [_tool("java"), heap, "-cp", self._classpath, main, *arguments]

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
        cluster = uuid4().hex[:22]
        users = self._guard.users if self._guard else {}
        scram = [f"SCRAM-SHA-512=[name={u},password={secret}]" for u, secret in users.items()]
        command = self._java(
            "kafka.tools.StorageTool",
            *("format", "-t", cluster, "-c", str(self._settings)),
            *(word for user in scram for word in ("--add-scram", user)),
        )
        _run(command, "Apache Kafka's storage could not be formatted")


@contextmanager
def real_kafka(
    folder: Path,
    *,
    properties: Mapping[str, str] | None = None,
    guard: Guard | None = None,
    clock: Clock | None = None,
) -> Iterator[Kafka]:
    """Apache Kafka over `folder` as long as the block runs; a folder used before is carried on.

    `properties` go into server.properties. Raises FatalError when Java or Maven is missing or the
    broker does not start.
    """
    kafka = Kafka(folder, properties or {}, clock or SystemClock(), guard)
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.stop()


def version() -> str:
    """Return the version of Apache Kafka: $PINPIP_KAFKA_VERSION, or the one tested with pinpip."""
    return os.environ.get("PINPIP_KAFKA_VERSION") or VERSION


def jars() -> Path:
    """Return the folder of Kafka's jars ($PINPIP_KAFKA_HOME); Maven fetches them on first use."""
    default = Path.home() / ".cache" / "pinpip" / f"kafka-{version()}"
    home = Path(os.environ.get("PINPIP_KAFKA_HOME") or default)
    libs = home / "libs"
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        opened = (home / ".lock").open("w")
    with opened as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes may want it at once
        if not libs.exists():
            _fetch(libs)
    return libs


def _fetch(libs: Path) -> None:
    maven = _tool("mvn")
    dependencies = "".join(_DEPENDENCY.format(name, version()) for name in _ARTIFACTS)
    with tempfile.TemporaryDirectory(dir=libs.parent) as scratch:
        Path(scratch, "pom.xml").write_text(_POM % dependencies, encoding="utf-8")
        arrived = Path(scratch, "libs")
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={arrived}"]
        _run(
            [maven, "-q", "-B", "-f", f"{scratch}/pom.xml", *goal],
            f"Maven could not fetch Apache Kafka {version()}",
        )
        arrived.rename(libs)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FatalError(
            f"a real Kafka needs {name}, which is not on the PATH",
            "install a Java 17 runtime and Maven, or use the embedded broker: --kafka mock",
        )
    return found


def _run(command: list[str], complaint: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        words = _last_lines(done.stdout + done.stderr)
        raise FatalError(f"{complaint}: {words}", f"the command was: {' '.join(command)}")


def _last_lines(text: str) -> str:
    """Return the last output of a Java program, without the stack trace."""
    said = [line for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    return " | ".join(said[-5:]) or "it said nothing"


def _answers(admin: AdminClient) -> bool:
    try:
        return bool(admin.list_topics(timeout=0.5).brokers)
    except KafkaException:
        return False


def free_port() -> int:
    """Return a TCP port of loopback that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
