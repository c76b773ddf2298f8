"""Install the peers, each into a separate environment that stays in the cache."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.contest import Contestant
from core.errors import FatalError

CACHE = Path.home() / ".cache" / "pinpip" / "peers"
SPARK, DELTA = "4.0.0", "4.0.0"
_JARS = (
    ("org.apache.spark", "spark-sql-kafka-0-10_2.13", SPARK),
    ("io.delta", "delta-spark_2.13", DELTA),
)
_DEPENDENCY = (
    "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
)
_POM = (
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    "<groupId>pinpip</groupId><artifactId>spark</artifactId><version>1</version>"
    "<dependencies>{}</dependencies></project>"
)
# Spark's parent POM names a mirror that is not reachable from everywhere.
_SETTINGS = (
    "<settings><mirrors><mirror><id>central-only</id><mirrorOf>*</mirrorOf>"
    "<url>https://repo.maven.apache.org/maven2</url></mirror></mirrors></settings>"
)


def peers() -> list[Contestant]:
    """Return Quix Streams and Spark, ready to run; raises FatalError when a download fails."""
    same = [f"{name}=={version(name)}" for name in ("polars", "deltalake", "pyarrow")]
    quix = environment("quix", ["quixstreams>=3.23,<4", *same])
    spark = environment("spark", [f"pyspark=={SPARK}", "setuptools"])
    jars = (("PINPIP_SPARK_JARS", str(spark_jars())),)
    return [Contestant("quix", 5.0, quix), Contestant("spark", 6.5, spark, jars)]


def environment(name: str, requirements: Sequence[str]) -> str:
    """Return the interpreter of the virtual environment `name`."""
    folder = CACHE / name
    python, ready = folder / "bin" / "python", folder / ".ready"
    wanted = "\n".join(requirements)
    if not ready.exists() or ready.read_text(encoding="utf-8") != wanted:
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], f"no environment for {name}")
        _run([str(python), "-m", "pip", "install", "-q", *requirements], f"no packages for {name}")
        ready.write_text(wanted, encoding="utf-8")
    return str(python)


def spark_jars() -> Path:
    """Return the folder of the jars that Spark needs for Kafka and Delta."""
    libs = CACHE / f"spark-jars-{SPARK}"
    if not libs.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            _fetch(Path(scratch))
            (Path(scratch) / "libs").rename(libs)
    return libs


def _fetch(scratch: Path) -> None:
    dependencies = "".join(_DEPENDENCY.format(*jar) for jar in _JARS)
    (scratch / "pom.xml").write_text(_POM.format(dependencies), encoding="utf-8")
    (scratch / "settings.xml").write_text(_SETTINGS, encoding="utf-8")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={scratch / 'libs'}"]
    goal.append("-DincludeScope=runtime")
    files = ["-s", str(scratch / "settings.xml"), "-f", str(scratch / "pom.xml")]
    _run(["mvn", "-q", "-B", *files, *goal], "Maven could not fetch Spark's jars")


def _run(command: Sequence[str], complaint: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " | ".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise FatalError(f"{complaint}: {words}", f"the command was: {' '.join(command)}")
