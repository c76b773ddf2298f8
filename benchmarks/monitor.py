"""Measure what the status page and the metrics cost a consumer at full speed."""

import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks import commits, config, measure
from benchmarks.contest import BenchmarkSetup
from benchmarks.measure import Process, Usage
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import Topic, fill, pins
from pinpip.local.java import free_port

PARTITIONS = 4
VISITS = (("/metrics", 15.0), ("/?part=main", 2.0))  # Prometheus, and an open page
RESTS_S = 5.0  # after the work, before memory is measured
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Run:
    """One drain. `cpu`: CPU seconds per million records after the first commit; memory in MB."""

    rate: float
    cpu: float
    rss_mb: float
    peak_mb: float


def monitor(setup: BenchmarkSetup, *, records: int, rounds: int) -> BenchmarkResult:
    """Drain one topic with and without an open page and a scraper, in turn."""
    topic = fill(setup.bootstrap, "monitored", PARTITIONS, records, pins())
    plain, watched = list[Run](), list[Run]()
    for number in range(rounds):
        plain.append(_drain(topic, setup.folder / f"plain{number}", None))
        watched.append(_drain(topic, setup.folder / f"watched{number}", free_port()))
    rows = [_row("plain", plain, plain), _row("page and metrics", watched, plain)]
    return result("monitor", {"records": records, "rounds": rounds}, rows)


def _row(name: str, runs: list[Run], plain: list[Run]) -> dict[str, object]:
    """Return medians; ratios and differences are taken per round, under the same load."""
    pairs = list(zip(runs, plain, strict=True))
    return {
        "consumer": name,
        "records/s": median(run.rate for run in runs),
        "CPU s/M": median(run.cpu for run in runs),
        "CPU more %": median(100 * (own.cpu / other.cpu - 1) for own, other in pairs),
        "RSS MB": median(run.rss_mb for run in runs),
        "RSS more MB": median(own.rss_mb - other.rss_mb for own, other in pairs),
        "peak MB": median(run.peak_mb for run in runs),
        "runs": [asdict(run) for run in runs],
    }


def _drain(topic: Topic, folder: Path, port: int | None) -> Run:
    path = config.of_topic(folder, topic.bootstrap, topic.name)
    log = commits.CommitFollower(commits.local(folder / "pin"))
    options = () if port is None else ("--metrics-port", str(port))
    with measure.pinpip(path, "consume", "pin", *options) as consumer, _visited(port):
        first, began, held = _at(log, 1, consumer, folder)
        last, ended, rows = _at(log, topic.records, consumer, folder)
        time.sleep(RESTS_S)
        rests = measure.usage(consumer.pid)
    shutil.rmtree(folder)
    moved = rows - held
    return Run(moved / (ended - began), (last.cpu - first.cpu) / moved * 1e6, rests.rss, rests.peak)


def _at(
    log: commits.CommitFollower, rows: int, consumer: Process, folder: Path
) -> tuple[Usage, float, int]:
    """Return usage, time and rows once so many rows are committed."""
    deadline = time.monotonic() + TIMEOUT_S
    while log.advance() < rows:
        measure.refuse_dead([consumer], folder / "log")
        if time.monotonic() > deadline:
            raise SystemExit(f"{log.rows} of {rows} rows were committed: {folder / 'log'}")
        time.sleep(0.02)
    return measure.usage(consumer.pid), time.monotonic(), log.rows


@contextmanager
def _visited(port: int | None) -> Iterator[None]:
    """Request what a scraper and an open page request while the block runs."""
    ends = threading.Event()
    threads = [
        threading.Thread(target=_visit, args=(f"http://127.0.0.1:{port}{path}", every, ends))
        for path, every in (VISITS if port else ())
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ends.set()
        for thread in threads:
            thread.join()


def _visit(url: str, every: float, ends: threading.Event) -> None:
    while not ends.wait(every):
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # loopback
                response.read()
        except OSError:
            continue  # it starts or ends
