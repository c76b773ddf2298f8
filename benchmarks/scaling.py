"""Measure the cost of a record by partitions, processes and record size."""

import shutil
from collections.abc import Sequence
from statistics import median

from benchmarks import contest
from benchmarks.contest import PINPIP, BenchmarkSetup, RunMeasurement
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import Topic, fill, pins, sized

PARTITIONS = (1, 4, 16)
PROCESSES = (1, 2)
SIZES = (200, 746, 10_000, 1_000_000)
WIDTH = 4


def scaling(setup: BenchmarkSetup, *, records: int, rounds: int) -> BenchmarkResult:
    """Measure all three; the topic of a size holds no more bytes than `records` pins."""
    by_width = [
        fill(setup.bootstrap, f"width{width}", width, records, pins()) for width in PARTITIONS
    ]
    by_size = [_of_size(setup.bootstrap, size, records) for size in SIZES]
    middle = by_width[PARTITIONS.index(WIDTH)]
    kinds = [
        *(("partitions", width, t, 1) for width, t in zip(PARTITIONS, by_width, strict=True)),
        *(("processes", number, middle, number) for number in PROCESSES),
        *(("bytes", size, t, 1) for size, t in zip(SIZES, by_size, strict=True)),
    ]
    found: list[list[RunMeasurement]] = [[] for _ in kinds]
    for number in range(rounds):
        for runs, (of, value, topic, processes) in zip(found, kinds, strict=True):
            folder = setup.folder / f"{of}{value}-{number}"
            runs.append(contest.run(PINPIP, topic, folder, setup.broker, processes=processes))
            shutil.rmtree(folder)
    rows = [
        _row(of, value, topic, runs)
        for runs, (of, value, topic, _) in zip(found, kinds, strict=True)
    ]
    return result("scaling", {"records": records, "rounds": rounds}, rows)


def _of_size(bootstrap: str, size: int, records: int) -> Topic:
    limit = int(records * 746 / size)
    return fill(bootstrap, f"size{size}", WIDTH, min(records, limit), sized(size))


def _row(of: str, value: int, topic: Topic, runs: Sequence[RunMeasurement]) -> dict[str, object]:
    rate, cpu = median(run.rate for run in runs), median(run.reading_cpu for run in runs)
    return {
        "of": of,
        "value": f"{value:,}",
        "records": topic.records,
        "records/s": round(rate),
        "MB/s": rate * topic.mean_bytes / 1e6,
        "CPU s/M": cpu,
        "CPU s/GB": cpu / topic.mean_bytes * 1000,
        "broker s/M": median(run.broker_cpu for run in runs),
        "peak MB": median(run.peak_mb for run in runs),
    }
