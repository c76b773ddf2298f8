"""Measure start, stop, restart, `status` and `verify` of a consumer of many partitions."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import commits, config, measure
from benchmarks.contest import BenchmarkSetup
from benchmarks.measure import Process
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import create, pins, put

PARTITIONS = (1, 50, 600, 2000)
RECORDS_EACH = 5  # per partition, before each of the two starts
STEP_TIMEOUT_S = 120.0


def starts(setup: BenchmarkSetup, *, partitions: Sequence[int] = PARTITIONS) -> BenchmarkResult:
    """For each number of partitions: start, stop, start again, run `status` and `verify`."""
    rows = [_of(setup, number) for number in partitions]
    return result("starts", {"records a partition": RECORDS_EACH}, rows)


def _of(setup: BenchmarkSetup, partitions: int) -> dict[str, object]:
    folder, topic = setup.folder / f"starts{partitions}", f"starts{partitions}"
    path = config.of_topic(folder, setup.bootstrap, topic)
    create(setup.bootstrap, topic, partitions)
    log = commits.CommitFollower(commits.local(folder / "pin"))
    found: dict[str, object] = {"partitions": partitions}
    for turn, number in enumerate(("first", "second"), 1):
        put(setup.bootstrap, topic, partitions, partitions * RECORDS_EACH, pins())
        found |= _start(path, log, turn * partitions * RECORDS_EACH, number)
    for command in ("status", "verify"):
        began = time.monotonic()
        _run(path, command)
        found[f"{command} s"] = time.monotonic() - began
    return found


def _start(path: Path, log: commits.CommitFollower, rows: int, number: str) -> dict[str, object]:
    """Return the seconds from start to first row and to all `rows`, and from SIGTERM to exit."""
    held, began = log.advance(), time.time()
    with measure.pinpip(path, "consume", "pin") as consumer:
        _await(log, held + 1, consumer, path)
        first = time.time() - began
        _await(log, rows, consumer, path)
        every = time.time() - began
        stopped = time.monotonic()
        consumer.terminate()
        consumer.wait(STEP_TIMEOUT_S)
    ended = time.monotonic() - stopped
    return {f"{number} row s": first, f"{number} all s": every, f"{number} SIGTERM s": ended}


def _await(log: commits.CommitFollower, rows: int, consumer: Process, path: Path) -> None:
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while log.advance() < rows:
        measure.refuse_dead([consumer], path.parent / "log")
        if time.monotonic() > deadline:
            raise SystemExit(f"{log.rows} of {rows} rows were committed: {path.parent / 'log'}")
        time.sleep(0.02)


def _run(path: Path, command: str) -> None:
    with measure.pinpip(path, command, "pin") as process:
        if process.wait(STEP_TIMEOUT_S):
            raise subprocess.CalledProcessError(process.returncode, command)
