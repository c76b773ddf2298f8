"""How soon a consumer of many partitions has its first row, stops, starts again, and is proven."""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import commits, config, measure
from benchmarks.contest import Stage
from benchmarks.measure import Process
from benchmarks.results import Result, result
from benchmarks.topic import create, pins, put

PARTITIONS = (1, 50, 600, 2000)
EACH = 5  # records a partition before each of the two starts
PATIENCE = 120.0


def starts(stage: Stage, *, partitions: Sequence[int] = PARTITIONS) -> Result:
    """Each number of partitions: a first start, a stop, a second start, `status` and `verify`."""
    rows = [_of(stage, number) for number in partitions]
    return result("starts", {"records a partition": EACH}, rows)


def _of(stage: Stage, partitions: int) -> dict[str, object]:
    folder, topic = stage.folder / f"starts{partitions}", f"starts{partitions}"
    path = config.of_topic(folder, stage.bootstrap, topic)
    create(stage.bootstrap, topic, partitions)
    log = commits.Log(commits.local(folder / "pin"))
    found: dict[str, object] = {"partitions": partitions}
    for turn, number in enumerate(("first", "second"), 1):
        put(stage.bootstrap, topic, partitions, partitions * EACH, pins())
        found |= _start(path, log, turn * partitions * EACH, number)
    for command in ("status", "verify"):
        began = time.monotonic()
        _run(path, command)
        found[f"{command} s"] = time.monotonic() - began
    return found


def _start(path: Path, log: commits.Log, rows: int, number: str) -> dict[str, object]:
    """Seconds from a start to a new row and to all `rows`, and from SIGTERM to the end."""
    held, began = log.advance(), time.time()
    with measure.pinpip(path, "consume", "pin") as consumer:
        _await(log, held + 1, consumer, path)
        first = time.time() - began
        _await(log, rows, consumer, path)
        every = time.time() - began
        stopped = time.monotonic()
        consumer.terminate()
        consumer.wait(PATIENCE)
    ended = time.monotonic() - stopped
    return {f"{number} row s": first, f"{number} all s": every, f"{number} SIGTERM s": ended}


def _await(log: commits.Log, rows: int, consumer: Process, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while log.advance() < rows:
        measure.refuse_dead([consumer], path.parent / "log")
        if time.monotonic() > deadline:
            raise SystemExit(f"{log.rows} of {rows} rows came: {path.parent / 'log'}")
        time.sleep(0.02)


def _run(path: Path, command: str) -> None:
    with measure.pinpip(path, command, "pin") as process:
        if process.wait(PATIENCE):
            raise subprocess.CalledProcessError(process.returncode, command)
