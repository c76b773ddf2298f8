"""What a commit costs by the age of its table: real sinks, small batches, one commit a batch."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks.results import Result, result
from benchmarks.small import batch, delta_sinks, partitions
from pinpip.batch import KAFKA
from pinpip.cli.shared import progress_bar
from sinks.verify import Tables

AGES = (10, 100, 1_000, 10_000)
CHECKPOINTED = 100  # commits between checkpoints: a window of so many holds its share of them


def age(folder: Path, *, commits: int) -> Result:
    """The clean table's commits from the first to so many; medians of those around each age."""
    tables = Tables(str(folder / "user"), str(folder / "bad"), dict, KAFKA, "pinpip/user/1")
    costs = _costs(tables, commits)
    windows = {age: _window(costs, age) for age in sorted({*AGES, commits}) if age <= commits}
    base = median(windows[AGES[0]])
    rows = [
        {
            "commits": age,
            "median ms": 1000 * median(window),
            "p95 ms": 1000 * sorted(window)[int(len(window) * 0.95)],
            "mean ms": 1000 * sum(window) / len(window),
            f"x that of {AGES[0]}": median(window) / base,
        }
        for age, window in windows.items()
    ]
    return result("age", {"commits": commits}, rows)


def _costs(tables: Tables, commits: int) -> list[float]:
    """Seconds of each commit."""
    costs = []
    sink = delta_sinks(tables)[0]
    with closing(sink), progress_bar(quiet=False) as bar:
        sink.positions(partitions())
        for made in map(batch, bar.track(range(commits), description="committing")):
            began = time.perf_counter()
            sink.write(made)
            costs.append(time.perf_counter() - began)
    return costs


def _window(costs: Sequence[float], age: int) -> Sequence[float]:
    """The costs around an age: up to half a checkpoint's period either side, or the last whole."""
    half = min(age // 2, CHECKPOINTED // 2)
    end = min(age + half, len(costs))
    return costs[end - 2 * half : end]
