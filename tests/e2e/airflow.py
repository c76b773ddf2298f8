"""`make airflow`: the DAG of deploy/airflow in a real Airflow, on the embedded stack.

Airflow and pinpip each have their own environment, as in production. Sends records, runs the DAG,
sends more, runs it again, and once more with nothing new; each time the tables hold what was
stored. Then a row is doubled: `verify` must fail, and no report be made.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy

import polars as pl
from deltalake import write_deltalake

from core.clock import SystemClock
from pinpip.local.java import free_port
from tests.support.places import ROOT

AIRFLOW = ROOT / "build/airflow/bin/airflow"
DAG, TASKS = "pinpip_batch", ("consume", "verify", "report")
JSON = ("--output", "json")
START_S, STOP_S, RUN_S = 60.0, 40.0, 300.0


@dataclass(frozen=True)
class Place:
    """A folder with a configuration, a lake and Airflow's own files."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration: the example of the repository."""
        return self.folder / "config.yaml"

    @property
    def environment(self) -> Mapping[str, str]:
        """What both programs are started with."""
        pinpip = Path(sys.executable).with_name("pinpip")
        own = {
            "PINPIP": str(pinpip),
            "PINPIP_CONFIG": str(self.config),
            "PINPIP_GATEWAY__PORT": (self.folder / "port").read_text(encoding="utf-8"),
            "AIRFLOW_HOME": str(self.folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "deploy/airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        return {**os.environ, **own}

    def pinpip(self, *arguments: str) -> list[dict[str, object]]:
        """`pinpip … --json`; its answer."""
        command = [self.environment["PINPIP"], "-c", str(self.config), *arguments, "--json"]
        return list(json.loads(self._run(command).stdout))

    def airflow(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`airflow …` to its end."""
        return self._run([str(AIRFLOW), *arguments], check=check)

    def outcome(self, run: str) -> dict[str, str]:
        """Run the DAG; the states of its tasks."""
        self.airflow("dags", "test", DAG, run, check=False)
        asked = ("tasks", "states-for-dag-run", DAG, run, *JSON)
        return {task["task_id"]: task["state"] for task in self.listed(*asked)}

    def listed(self, *arguments: str) -> list[dict[str, str]]:
        """`airflow … --output json`; its log comes first, and nothing is not JSON."""
        lines = self.airflow(*arguments).stdout.splitlines()
        return list(json.loads(next((line for line in lines if line.startswith("[{")), "[]")))

    def rows(self) -> int:
        """Rows of all tables and quarantines."""
        return sum(int(f"{t['clean']}") + int(f"{t['quarantined']}") for t in self.pinpip("status"))

    def send(self, count: int) -> int:
        """Store `count` events of three records each; how many records there are."""
        sent = self.pinpip("produce", "--direct", "--count", str(count), "--bad", "0.05")
        return sum(int(f"{row['stored']}") for row in sent)

    def _run(self, command: list[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_S,
        )
        if check and done.returncode:
            sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done


def main() -> None:
    """Do all of it, and stop the stack whatever happens."""
    with tempfile.TemporaryDirectory() as name, _stack(Place(Path(name))) as place:
        _tell("the database of Airflow")
        place.airflow("db", "migrate")
        place.airflow("dags", "reserialize")
        _expect("DAGs", [dag["dag_id"] for dag in place.listed("dags", "list", *JSON)], [DAG])
        stored = 0
        for day, count in enumerate((200, 50, 0), start=1):
            stored += place.send(count) if count else 0
            _tell(f"run {day}: {stored} records are stored")
            _expect("tasks", place.outcome(f"2026-01-0{day}"), dict.fromkeys(TASKS, "success"))
            _expect("rows", place.rows(), stored)
        _tell("run 4: a row is there twice")
        pins = str(place.folder / ".pinpip/lake/pin")
        write_deltalake(pins, pl.read_delta(pins).head(1), mode="append")
        wanted = {"consume": "success", "verify": "failed", "report": "upstream_failed"}
        _expect("tasks", place.outcome("2026-01-04"), wanted)
    _tell("the DAG took each record once, and stopped at a damaged table")


@contextmanager
def _stack(place: Place) -> Iterator[Place]:
    """Run the embedded stack while the block runs."""
    copy(ROOT / "config.yaml", place.config)
    (place.folder / "port").write_text(str(free_port()), encoding="utf-8")
    command = [place.environment["PINPIP"], "-c", str(place.config), "local", "up"]
    with subprocess.Popen(command, env=place.environment, cwd=place.folder) as up:
        try:
            _await_state(place, up)
            yield place
        finally:
            up.terminate()
            up.wait(STOP_S)


def _await_state(place: Place, up: "subprocess.Popen[bytes]") -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + START_S
    while not (place.folder / ".pinpip/local.json").exists():
        if up.poll() is not None or clock.monotonic() > deadline:
            sys.exit("the embedded stack did not come up: its message is above")
        clock.sleep(0.1)


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        sys.exit(f"{what}: {found}, wanted: {wanted}")


def _tell(text: str) -> None:
    sys.stdout.write(f"airflow: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
