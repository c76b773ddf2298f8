"""Measure the writer's memory, the files and the log over many commits under upkeep.

The real sink commits small batches in one process; in another `pinpip.maintain` takes turns. Time
is compressed: to both, consecutive commits are `step` apart, so that retentions of days pass. At
each sample the writer waits for a whole turn, so that counts do not depend on luck.
"""

import json
import os
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import upkeep
from benchmarks.age import resident
from benchmarks.measure import ROOT, usage
from benchmarks.results import BenchmarkResult, result
from core.clock import SystemClock
from core.errors import StalePosition
from sinks.delta import listing
from sinks.delta.sink import DeltaSink
from sinks.storage.store import FolderStore

SAMPLES = 20
PATIENCE_S = 120.0  # for a turn
_START = datetime(2026, 1, 1, tzinfo=UTC)
_TURNS = "turns"  # a file beside the table: how many turns have ended
_REST_S = 0.2  # between turns
_RUN = "from pinpip.runtime import tune_allocators; tune_allocators(); "
_RUN += "from benchmarks.upkeep_run import main; main()"


class CompressedStore(FolderStore):
    """A folder in which the entry of version n was put at n times `step`, the rest in between."""

    def __init__(self, root: Path, step: timedelta) -> None:
        super().__init__(root)
        self._step = step

    def scan(self, folder: str) -> Iterator[tuple[str, datetime]]:
        """List files with compressed times."""
        found = [(key, at, listing.parsed(key)) for key, at in super().scan(listing.FOLDER)]
        entries = sorted((at, f.version) for _, at, f in found if f is not None and f.is_entry)
        times = [at for at, _ in entries]
        for key, at in super().scan(folder):
            file, before = listing.parsed(key), bisect_right(times, at) - 1
            version = file.version if file else entries[before][1] if before >= 0 else 0
            yield key, _START + version * self._step


def upkeep_run(
    folder: Path, *, commits: int, step: timedelta, samples: int = SAMPLES
) -> BenchmarkResult:
    """Commit so many batches under upkeep, and look so many times."""
    table, rows = folder / "pin", list[dict[str, Any]]()
    parameters = {
        "commits": commits,
        "rows": upkeep.ROWS,
        "minutes apart": step.total_seconds() / 60,
    }
    with (
        _child("keep", table, step, 0, 0) as keeper,
        _child("write", table, step, commits, samples) as writer,
    ):
        for line in writer.stdout or ():
            rows.append(json.loads(line) | {"upkeep peak MB": usage(keeper.pid).peak})
        keeper.terminate()
    if writer.returncode:
        raise SystemExit("the writer failed")
    return result("upkeep-run", parameters, rows)


def _child(
    role: str, table: Path, step: timedelta, commits: int, samples: int
) -> "subprocess.Popen[str]":
    told = [role, str(table), str(step.total_seconds()), str(commits), str(samples)]
    command, own = [sys.executable, "-c", _RUN, *told], {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own, cwd=ROOT)


def main() -> None:
    """Run one of the processes; arguments: `write` or `keep`, table, step (s), commits, samples."""
    role, name, step, commits, samples = sys.argv[1:]
    store = CompressedStore(Path(name), timedelta(seconds=float(step)))
    if role == "write":
        _write(store, name, int(commits), int(samples))
    else:
        _keep(store, name)


def _write(store: FolderStore, name: str, commits: int, samples: int) -> None:
    """Commit the batches as a consumer does, and print a line for each sample."""
    with closing(DeltaSink("pin", upkeep.target(name), store, SystemClock())) as sink:
        nth, costs, again = _next(sink), list[float](), 0
        while nth < commits:
            made, began = upkeep.batch(nth), time.perf_counter()
            try:
                sink.write(made)
            except StalePosition:
                nth, again = _next(sink), again + 1
                continue
            costs.append(1000 * (time.perf_counter() - began))
            nth += 1
            if nth * samples // commits > (nth - 1) * samples // commits:
                _await_turn(Path(name))
                found = _sample(name, nth, sorted(costs)) | {"positions read again": again}
                print(json.dumps(found), flush=True)
                costs.clear()


def _next(sink: DeltaSink) -> int:
    """Return which batch comes next, by the table."""
    at = sink.positions([upkeep.PARTITION])[upkeep.PARTITION]
    return at.number // upkeep.ROWS if at else 0


def _sample(name: str, commits: int, costs: list[float]) -> dict[str, Any]:
    table, log = Path(name), Path(name, "_delta_log")
    return {
        "commits": commits,
        "files of the table": upkeep.stepped("count", name)["files"],
        "files on disk": len(list(table.glob("*.parquet"))),
        "log entries": len(list(log.glob("*.json"))),
        "log MB": sum(file.stat().st_size for file in log.iterdir()) / upkeep.MB,
        "commit p50 ms": median(costs),
        "commit p99 ms": costs[len(costs) * 99 // 100],
        "writer MB": resident(),
    }


def _await_turn(table: Path) -> None:
    """Return when a turn that began after now has ended."""
    began, deadline = _turns(table), time.monotonic() + PATIENCE_S
    while _turns(table) < began + 2:
        if time.monotonic() > deadline:
            raise SystemExit(f"no turn of the upkeep ended within {PATIENCE_S:g} s")
        time.sleep(0.01)


def _turns(table: Path) -> int:
    file = table.parent / _TURNS
    return len(file.read_bytes()) if file.exists() else 0


def _keep(store: FolderStore, name: str) -> None:
    """Take turns, as `pinpip.maintain` does, until the process is ended."""
    while True:
        if Path(name, "_delta_log").exists():
            upkeep.keeper(store, name).done(lambda _: None)
            with (Path(name).parent / _TURNS).open("ab") as turns:
                turns.write(b".")
        time.sleep(_REST_S)


if __name__ == "__main__":
    main()
