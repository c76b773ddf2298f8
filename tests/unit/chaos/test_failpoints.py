"""Crash points: every border is passed, the planned passage is the last one, time can leap."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from chaos.failpoints import (
    COMMITTED,
    INTERRUPTED,
    ClockJump,
    FailpointPlan,
    Failpoints,
    JumpingClock,
)
from chaos.points import Failpoint
from consumers.engine.limits import Limits
from consumers.engine.loop import Loop
from core.batch import Partition
from core.config import Config
from core.protocols import Sink
from pinpip.pipelines import process_of, sinks_of
from tests.support.clock import ManualClock
from tests.support.memory import LazyExecutor, MemoryBroker, MemorySource
from tests.support.places import ROOT
from tests.support.processes import environment, payloads

P0 = Partition("pin", "0")
LIMITS = Limits(
    max_records=100, max_bytes=1_000_000, max_wait=1.0, reject_ratio=0.5, reject_window=10_000
)


def config(folder: Path) -> Config:
    """Configure a pipeline with all kinds of sinks on a folder."""
    pipeline = {
        "source": {"topics": ["pin"]},
        "schema": "transforms.user:SCHEMA",
        "transform": "transforms.user:clean",
        "sinks": [{"delta": "user"}, {"parquet": str(folder / "archive"), "flush": {"seconds": 0}}],
    }
    tree = {
        "id": "demo",
        "kafka": {"bootstrap.servers": "none.invalid:9092"},
        "lake": {"root": str(folder / "lake")},
        "pipelines": {"user": pipeline},
    }
    return Config.model_validate(tree)


def plan(folder: Path, **values: object) -> FailpointPlan:
    paths = {"journal": folder / "journal", "disarmed": folder / "disarmed"}
    return FailpointPlan.model_validate(paths | values)


def noted(folder: Path) -> list[str]:
    lines = (folder / "journal").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["what"] for line in lines]


def test_a_pipeline_of_real_parts_passes_every_point_in_the_order_of_its_work(
    tmp_path: Path,
) -> None:
    faults, own, broker = Failpoints(plan(tmp_path)), config(tmp_path), MemoryBroker()
    broker.logs[P0].extend(payloads(100))
    source, clock = MemorySource(broker, chunk=100), ManualClock()
    process = process_of(own.pipelines["user"], keep_values=True)
    sinks = sinks_of(own, "user", process, clock, faults=faults)
    loop = Loop(faults.source(source), process, sinks, LIMITS, clock, LazyExecutor())
    faults.source(source).open(loop)
    source.assign(P0)
    loop.run_once()  # hears of the partition
    loop.run_once()
    loop.finish()
    source.revoke(P0)
    source.poll(0)
    assert noted(tmp_path) == [
        Failpoint.ASSIGNED,
        Failpoint.BEFORE_WRITE,
        Failpoint.CLEAN_FILE,
        Failpoint.BEFORE_COMMIT,
        Failpoint.CLEAN_ENTRY,
        Failpoint.AFTER_CLEAN,
        COMMITTED,
        Failpoint.QUARANTINE_FILE,
        Failpoint.AFTER_QUARANTINE,
        Failpoint.ARCHIVE_OBJECT,
        Failpoint.AFTER_ARCHIVE,
        Failpoint.BEFORE_ACKNOWLEDGE,
        Failpoint.AFTER_ACKNOWLEDGE,
        Failpoint.REVOKED,
    ]


class Steps:
    """A sink and its store; `uploading` runs in the upload of a batch, `committing` in a commit."""

    name = "clean"

    def __init__(self) -> None:
        self.uploading: dict[object, Callable[[], None]] = {}
        self.committing: Callable[[], object] = lambda: None

    def prepare(self, batch: object) -> "Step":
        return Step(self.uploading.pop(batch, lambda: None))

    def commit(self, prepared: Sequence[object]) -> None:
        assert all(isinstance(one, Step) for one in prepared)
        self.committing()

    def put_new(self, key: str) -> bool:
        return bool(key)


@dataclass
class Step:
    """What a batch brings to the sink."""

    upload: Callable[[], None]


def steps(folder: Path) -> tuple[Steps, Any, Any]:
    """Return a sink, and both of its faces with failpoints."""
    faults, own = Failpoints(plan(folder)), Steps()
    return own, faults.sink(cast(Sink, own)), faults.store("clean", own)


def test_an_upload_that_ends_while_another_runs_is_half_of_a_group(tmp_path: Path) -> None:
    own, sink, _ = steps(tmp_path)
    second = sink.prepare("second")
    own.uploading["first"] = second.upload
    first = sink.prepare("first")
    first.upload()
    assert noted(tmp_path).count(Failpoint.HALF_UPLOADED) == 1


def test_uploads_one_after_the_other_are_no_halves(tmp_path: Path) -> None:
    _, sink, _ = steps(tmp_path)
    for batch in ("first", "second"):
        sink.prepare(batch).upload()
    assert Failpoint.HALF_UPLOADED not in noted(tmp_path)


@pytest.mark.parametrize("batches", [1, 2])
def test_an_entry_of_several_batches_is_passed_between_its_put_and_the_end_of_the_commit(
    tmp_path: Path, batches: int
) -> None:
    own, sink, store = steps(tmp_path)
    own.committing = lambda: store.put_new("_delta_log/7.json")
    sink.commit([sink.prepare(n) for n in range(batches)])
    points = [Failpoint.BEFORE_WRITE, Failpoint.BEFORE_COMMIT, Failpoint.CLEAN_ENTRY]
    points += [Failpoint.GROUP_ENTRY] if batches > 1 else []
    assert noted(tmp_path) == [*points, Failpoint.AFTER_CLEAN]


def test_what_is_stored_beside_the_table_is_no_file_of_it(tmp_path: Path) -> None:
    _, sink, store = steps(tmp_path)
    sink.prepare("any")
    assert store.put_new("_pinpip/ledger/7.json")
    assert noted(tmp_path) == [Failpoint.BEFORE_WRITE]


# A process that passes a point three times and says so each time.
PASSING = """
import sys
from chaos.failpoints import FailpointPlan, Failpoints
class Store:
    def put_new(self, key):
        print("put", flush=True)
store = Failpoints(FailpointPlan.model_validate_json(sys.argv[1])).store("clean", Store())
for _ in range(3):
    store.put_new("part.parquet")
"""


def passing(own: FailpointPlan) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PASSING, own.model_dump_json()]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment()
    )


@pytest.mark.process
def test_the_process_is_killed_at_the_planned_passage(tmp_path: Path) -> None:
    done = passing(plan(tmp_path, point=Failpoint.CLEAN_FILE, passages=2))
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.count("put") == 2
    assert noted(tmp_path) == [Failpoint.CLEAN_FILE, INTERRUPTED]
    assert "KILL at clean file written" in done.stdout + done.stderr


@pytest.mark.process
def test_nothing_happens_at_another_point_or_once_it_is_calm(tmp_path: Path) -> None:
    assert passing(plan(tmp_path, point=Failpoint.ASSIGNED)).returncode == 0
    (tmp_path / "disarmed").touch()
    assert passing(plan(tmp_path, point=Failpoint.CLEAN_FILE)).returncode == 0


def test_a_consumer_without_a_plan_is_not_wrapped(tmp_path: Path) -> None:
    own = config(tmp_path)
    process = process_of(own.pipelines["user"], keep_values=True)
    sinks = sinks_of(own, "user", process, ManualClock())
    assert not [type(sink) for sink in sinks if type(sink).__module__.startswith("chaos")]


def test_a_clock_leaps_when_its_time_has_come() -> None:
    inner = ManualClock()
    clock = JumpingClock(inner, (ClockJump(after=5, wall=-3600, monotonic=45),))
    inner.advance(4)
    assert (clock.monotonic(), clock.now()) == (4, inner.now())
    inner.advance(2)
    assert clock.monotonic() == 6 + 45
    assert (inner.now() - clock.now()).total_seconds() == pytest.approx(3600)
