"""Measure how the costs of a table grow with its number of commits.

Real sinks write small batches, one commit per batch. Time is compressed: to the log's clean-up
consecutive commits are one second apart. Restart, status and verify run as separate processes.
Times are CPU times, because other work shares the cores.
"""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from audit.invariants import FindingKind
from audit.verify import verify
from benchmarks.measure import usage
from benchmarks.results import BenchmarkResult, result
from benchmarks.small import batch, delta_sinks, partitions
from core.batch import KAFKA, Batch, Position, Span
from sinks.delta import positions
from sinks.delta.table import find_own
from sinks.delta.target import Tables
from sinks.storage.store import FolderStore

AGES = (100, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 50_000, 70_000, 100_000)
_START = datetime(2026, 1, 1, tzinfo=UTC)
_MB = 1_000_000
_ROWS = 12  # per partition and batch: batch number 1 has no bad row
_STEPS = ("restart", "status", "verify")
_RUN = "from benchmarks.age import main; main()"
_TUNED = f"from pinpip.runtime import tune_allocators; tune_allocators(); {_RUN}"


class CompressedTimeStore(FolderStore):
    """A folder store that dates version n to n seconds after the start."""

    def scan(self, folder: str) -> Iterator[tuple[str, datetime]]:
        """List the log files with compressed times."""
        for key, _ in super().scan(folder):
            number = key.rpartition("/")[2].partition(".")[0]
            if number.isdigit():
                yield key, _START + timedelta(seconds=int(number))


def tables_in(folder: Path) -> Tables:
    """Return the tables of the benchmark."""
    return Tables(str(folder / "user"), str(folder / "bad"), dict, KAFKA, "pinpip/user/1")


def age(
    folder: Path, *, commits: int, watch: Callable[[BenchmarkResult], None] = lambda _: None
) -> BenchmarkResult:
    """Measure each age up to `commits`; `watch` gets the partial result after each row."""
    found = result("age", {"commits": commits}, [])
    rows: list[dict[str, Any]] = []
    tables = tables_in(folder)
    [sink, _] = delta_sinks(tables, CompressedTimeStore)
    costs: deque[float] = deque(maxlen=100)
    first = batch(1, _ROWS)
    with closing(sink):
        sink.positions(partitions())
        for nth in range(commits):
            made = _shifted(first, nth)
            began = time.thread_time()
            sink.write(made)
            costs.append(time.thread_time() - began)
            if nth + 1 in {*AGES, commits}:
                rows.append(_row(folder, nth + 1, costs))
                found = result("age", {"commits": commits}, rows)
                watch(found)
    return found


def _shifted(first: Batch, nth: int) -> Batch:
    """Derive the nth batch from batch number 1."""
    [span] = {*first.spans.values()}
    start = Position(nth * _ROWS) if nth else None
    offset = pl.col("_offset") + (nth - 1) * _ROWS
    return replace(
        first,
        raw=first.raw.with_columns(offset),
        clean=first.clean.with_columns(offset),
        rejected=first.rejected.with_columns(offset),
        spans=dict.fromkeys(first.spans, Span(start, Position((nth + 1) * _ROWS), span.records)),
    )


def _row(folder: Path, commits: int, costs: Sequence[float]) -> dict[str, Any]:
    held = resident()  # before the steps below, which use memory of this process
    row: dict[str, Any] = {
        "commits": commits,
        **_log(folder / "user" / "_delta_log"),
        "commit CPU ms": 1000 * median(costs),
        "RSS MB": held,
    }
    for step in _STEPS:
        row |= {f"{step} {name}": value for name, value in _measured(folder, step).items()}
    return row


def _log(folder: Path) -> dict[str, float]:
    """Return the size of the log, summed per file: a list of 100,000 entries takes 90 MB."""
    size, count, checkpoints = 0, 0, 0
    with os.scandir(folder) as files:
        for file in files:
            held = file.stat().st_size
            size += held
            if ".checkpoint" in file.name:
                count, checkpoints = count + 1, checkpoints + held
    return {"log MB": size / _MB, "checkpoints": count, "checkpoints MB": checkpoints / _MB}


def resident() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MB


def _measured(folder: Path, step: str) -> dict[str, float]:
    """Run a step in a separate process, and return its figures."""
    code = _TUNED if step == "restart" else _RUN  # as the commands of pinpip do
    command = [sys.executable, "-c", code, step, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Run one step in this process; arguments: `restart`, `status` or `verify`, and the folder."""
    step, folder = sys.argv[1], Path(sys.argv[2])
    steps = {"restart": _restart, "status": _status, "verify": _verify}
    more = steps[step](tables_in(folder))
    peak = usage(os.getpid()).peak
    print(json.dumps({"CPU s": time.process_time(), "peak MB": peak} | (more or {})))


def _restart(tables: Tables) -> dict[str, float]:
    """Start up to where the first commit is possible."""
    [sink, _] = delta_sinks(tables)
    with closing(sink):
        _expect(all(sink.positions(partitions()).values()))
        return {"RSS MB": resident()}


def _status(tables: Tables) -> None:
    found = find_own(tables.clean, tables.options, tables.coordinates)
    if found is not None:
        look = found.transaction_version
        for p in partitions():
            _expect(positions.read_with_epoch(look, tables.app, p, tables.coordinates))
        found.count()


def _verify(tables: Tables) -> None:
    """Verify without a quarantine: it is behind, and nothing else may be found."""
    report = verify(replace(tables, quarantine=f"{tables.clean}_none"))
    _expect({finding.kind for finding in report.findings} <= {FindingKind.BEHIND})


def _expect(sound: object) -> None:
    if not sound:
        raise SystemExit("the table is not what was written")
