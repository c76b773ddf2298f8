"""Apache Kafka's jars from Maven Central, and Java to run them; needs Java 17 and Maven."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from core.errors import FatalError
from pinpip.folders import writing

VERSION = "4.1.0"
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


def version() -> str:
    """Return the Apache Kafka version: $PINPIP_KAFKA_VERSION, or the default."""
    return os.environ.get("PINPIP_KAFKA_VERSION") or VERSION


def jars() -> Path:
    """Return the folder of Kafka's jars; Maven downloads them ($PINPIP_KAFKA_HOME moves it)."""
    default = Path.home() / ".cache" / "pinpip" / f"kafka-{version()}"
    home = Path(os.environ.get("PINPIP_KAFKA_HOME") or default)
    libs = home / "libs"
    with writing(home):
        home.mkdir(parents=True, exist_ok=True)
        opened = (home / ".lock").open("w")
    with opened as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes may start at the same time
        if not libs.exists():
            _fetch(libs)
    return libs


def _fetch(libs: Path) -> None:
    maven = tool("mvn")
    dependencies = "".join(_DEPENDENCY.format(name, version()) for name in _ARTIFACTS)
    with tempfile.TemporaryDirectory(dir=libs.parent) as scratch:
        Path(scratch, "pom.xml").write_text(_POM % dependencies, encoding="utf-8")
        arrived = Path(scratch, "libs")
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={arrived}"]
        run(
            [maven, "-q", "-B", "-f", f"{scratch}/pom.xml", *goal],
            f"Maven could not fetch Apache Kafka {version()}",
        )
        arrived.rename(libs)


def tool(name: str) -> str:
    """Return the path of a program; raises FatalError when it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise FatalError(
            f"a real Kafka needs {name}, which is not on the PATH",
            "install a Java 17 runtime and Maven, or use the embedded broker: --kafka mock",
        )
    return found


def run(command: list[str], complaint: str) -> None:
    """Run a command; raises FatalError with `complaint` and its last words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        words = last_lines(done.stdout + done.stderr)
        raise FatalError(f"{complaint}: {words}", f"the command was: {' '.join(command)}")


def last_lines(text: str) -> str:
    """Return the last lines of a Java program's output, without stack traces."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    return " | ".join(lines[-5:]) or "it wrote no output"
