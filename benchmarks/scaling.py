"""What a record costs by the number of partitions and processes, and by its size."""

import shutil
from collections.abc import Sequence
from statistics import median

from benchmarks import contest
from benchmarks.contest import PINPIP, Outcome, Stage
from benchmarks.results import Result, result
from benchmarks.topic import Topic, fill, pins, sized

PARTITIONS = (1, 4, 16)
PROCESSES = (1, 2)
SIZES = (200, 746, 10_000, 1_000_000)
WIDTH = 4


def scaling(stage: Stage, *, records: int, rounds: int) -> Result:
    """Partitions, processes, sizes; a size's topic holds no more bytes than `records` pins."""
    by_width = [
        fill(stage.bootstrap, f"width{width}", width, records, pins()) for width in PARTITIONS
    ]
    by_size = [_of_size(stage.bootstrap, size, records) for size in SIZES]
    middle = by_width[PARTITIONS.index(WIDTH)]
    kinds = [
        *(("partitions", width, t, 1) for width, t in zip(PARTITIONS, by_width, strict=True)),
        *(("processes", number, middle, number) for number in PROCESSES),
        *(("bytes", size, t, 1) for size, t in zip(SIZES, by_size, strict=True)),
    ]
    found: list[list[Outcome]] = [[] for _ in kinds]
    for number in range(rounds):
        for runs, (of, value, topic, processes) in zip(found, kinds, strict=True):
            place = stage.folder / f"{of}{value}-{number}"
            runs.append(contest.run(PINPIP, topic, place, stage.broker, processes=processes))
            shutil.rmtree(place)
    rows = [
        _row(of, value, topic, runs)
        for runs, (of, value, topic, _) in zip(found, kinds, strict=True)
    ]
    return result("scaling", {"records": records, "rounds": rounds}, rows)


def _of_size(bootstrap: str, size: int, records: int) -> Topic:
    most = int(records * 746 / size)
    return fill(bootstrap, f"size{size}", WIDTH, min(records, most), sized(size))


def _row(of: str, value: int, topic: Topic, runs: Sequence[Outcome]) -> dict[str, object]:
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
