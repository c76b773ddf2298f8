"""pinpip as its user runs it: separate processes with the configuration of a test."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from polars.testing import assert_frame_equal

from core.batch import KAFKA, KINESIS
from core.config import LOG_FORMAT, Config
from pinpip import configfile
from pinpip.verify.examine import examine
from pinpip.verify.verdict import RereadPlan
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.places import ROOT
from tests.support.waiting import PATIENCE, STOPPING

BAD_EVERY = 50
_KEPT = {"PINPIP_KAFKA_HOME", "PINPIP_KAFKA_VERSION"}
Process = subprocess.Popen[bytes]


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Return when `condition` holds; fail saying `what` did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.002)


def payload(number: int) -> bytes:
    """Make a user record whose key is `number`; every fiftieth is not JSON."""
    if number % BAD_EVERY == 0:
        return b"no JSON: %d" % number
    joined = b'"date_joined": "2016-01-02T03:04:05"'
    return b'{"ind": %d, "first_name": "No", "last_name": "%d", "age": 30, %s}' % (
        number,
        number,
        joined,
    )


def payloads(count: int, since: int = 0) -> list[bytes]:
    """Make the payloads of `count` numbers from `since` on."""
    return [payload(n) for n in range(since, since + count)]


@dataclass(frozen=True)
class Home:
    """A folder with the configuration of one pipeline, `user`, and its tables."""

    folder: Path

    @property
    def config_path(self) -> Path:
        """The configuration."""
        return self.folder / "config.yaml"

    @property
    def config(self) -> Config:
        """The configuration, read."""
        return configfile.load(self.config_path, {})

    def uri(self, table: str) -> str:
        """Where a table is."""
        return str(self.folder / "lake" / table)

    @contextmanager
    def running(self, *arguments: str, log: str = "process.log") -> Iterator[Process]:
        """Run `pinpip …` while the block runs; its output goes to `log`."""
        with (
            (self.folder / log).open("ab") as out,
            subprocess.Popen(
                self._command(arguments),
                stdout=out,
                stderr=out,
                cwd=self.folder,
                env=environment(),
            ) as process,
        ):
            try:
                yield process
            except BaseException:
                sys.stderr.write((self.folder / log).read_text("utf-8", "replace")[-8000:])
                raise
            finally:
                process.kill()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`pinpip …` to its end."""
        return subprocess.run(
            self._command(arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            cwd=self.folder,
            env=environment(),
        )

    def verify(self, *arguments: str) -> dict[str, Any]:
        """Run `pinpip verify`; return its JSON, with which its exit code must agree."""
        done = self.run("verify", "--json", *arguments)
        assert done.returncode in {0, 3, 4}, done.stderr
        [tree] = json.loads(done.stdout)
        assert bool(tree["findings"]) == (done.returncode == 3)
        assert bool(tree["unknown"]) == (done.returncode == 4) or tree["findings"]
        return dict(tree)

    def examined(self, grace: float | None = 0.0, plan: RereadPlan | None = None) -> dict[str, Any]:
        """Return what `verify` says of the pipeline, without a process."""
        return examine(self.config, "user", grace, plan).tree()

    def table(self, name: str = "user") -> pl.DataFrame:
        """All rows of a table, in the order of their coordinates."""
        frame = pl.read_delta(self.uri(name))
        coordinates = KAFKA if KAFKA.number in frame.columns else KINESIS
        return frame.sort(coordinates.identity)

    def rows(self) -> int:
        """Rows in the live table and its quarantine, by their logs."""
        return sum(count(self.uri(name)) for name in ("user", "user_quarantine"))

    def lag(self) -> int:
        """Return how many records the topic has beyond the tables' positions."""
        [tree] = json.loads(self.run("status", "--json").stdout)
        return int(tree["lag"])

    def files(self, pattern: str) -> int:
        """How many files of the lake match `pattern`."""
        return len(list((self.folder / "lake").glob(pattern)))

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "pinpip", "--config", str(self.config_path), *arguments]


def environment() -> dict[str, str]:
    """Return this process's environment, plus the path of pinpip where it is not installed.

    The log is for people, as on a terminal: its errors are the same lines in every command.
    """
    own = {LOG_FORMAT: "text", "PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONFAULTHANDLER": "1"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PINPIP_") or k in _KEPT}
    return kept | own


def count(uri: str) -> int:
    """Rows of a table by its log; none when there is no table yet."""
    try:
        return int(DeltaTable(uri).count())
    except TableNotFoundError:
        return 0


def version(uri: str) -> int:
    """Return the newest version of a table."""
    return int(DeltaTable(uri).version())


def stop(process: Process, within: float = STOPPING) -> int:
    """Send SIGTERM; the exit code, which must come in time, else the log shows where it stands."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(within)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        process.wait()
        raise


def kafka_home(folder: Path, broker: Broker, topic: str, **properties: str) -> Home:
    """Make a home whose pipeline reads `topic` in its own group, `pinpip-{topic}-user`.

    A member's death is noticed as soon as Kafka allows.
    """
    quick = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300}
    own = {name.replace("_", "."): value for name, value in properties.items()}
    sections = {"kafka": {"bootstrap.servers": broker.bootstrap, **quick, **own}}
    own_id = "".join(filter(str.isalnum, topic))
    return _home(folder, {"id": own_id, **sections}, {"topics": [topic]}, {})


def kinesis_home(folder: Path, aws: TestAws, stream: str, **batching: object) -> Home:
    """Make a home whose pipeline reads `stream`."""
    keys = {"access_key_id": "local", "secret_access_key": "local"}
    sections = {
        "kafka": {"bootstrap.servers": "none.invalid:9092"},
        "aws": {"endpoint_url": aws.endpoint, **keys},
    }
    return _home(folder, sections, {"stream": stream}, batching)


def _home(
    folder: Path,
    sections: Mapping[str, object],
    source: Mapping[str, object],
    batching: Mapping[str, object],
) -> Home:
    pipeline = {
        "source": source,
        "schema": "transforms.user:SCHEMA",
        "transform": "transforms.user:clean",
        "sinks": [{"delta": "user"}],
    }
    tree = {
        "id": "demo",
        **sections,
        "lake": {"root": str(folder / "lake")},
        "batching": {"max_records": 1000, "max_wait": 0.1, **batching},
        "pipelines": {"user": pipeline},
    }
    folder.mkdir(parents=True, exist_ok=True)
    home = Home(folder)
    home.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return home


def put(aws: TestAws, stream: str, values: Sequence[bytes]) -> None:
    """Put `values` on a stream, over its shards; all are stored on return."""
    client = aws.client("kinesis")
    for first in range(0, len(values), 500):
        records = [
            {"Data": value, "PartitionKey": f"key {n}"}
            for n, value in enumerate(values[first : first + 500])
        ]
        assert client.put_records(StreamName=stream, Records=records)["FailedRecordCount"] == 0


def assert_holds_once(home: Home, values: Sequence[bytes]) -> None:
    """Each of `values` is once in the clean table or once in the quarantine; verify agrees."""
    clean, rejected = home.table(), home.table("user_quarantine")
    bad = sorted(value for value in values if not value.startswith(b"{"))
    good = sorted(json.loads(value)["ind"] for value in values if value.startswith(b"{"))
    assert clean["ind"].sort().to_list() == good
    assert (clean["user_name"] == "No " + clean["ind"].cast(pl.String)).all()
    assert rejected["_value"].sort().to_list() == bad
    assert set(rejected["reason"]) <= {"not_json"}
    verdict = home.verify("--grace", "0")
    assert verdict["findings"] == []
    assert verdict["clean"] + verdict["quarantined"] == len(values)


def assert_same_tables(home: Home, one: str, other: str) -> None:
    """Two tables and their quarantines are equal row for row, coordinates and all."""
    for suffix in ("", "_quarantine"):
        assert_frame_equal(home.table(one + suffix), home.table(other + suffix))
