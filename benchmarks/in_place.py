"""Measure what replays cost the live consumer: its commits alone, beside `--into`, and `--replace`.

The consumer notes how long each of its commits takes: what `pinpip_commit_seconds` has in buckets.
The replays alternate between two transforms, so that each of them replaces every row there is.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from benchmarks import commits, config, measure
from benchmarks.contest import BenchmarkSetup
from benchmarks.measure import Process
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import create, pins, steady
from transforms import pin

TOPIC, PARTITIONS = "in_place", 4
WARM_UP_S = 5.0  # of load after the first commit, not counted
TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Setting:
    """A running consumer: its configuration, the other transform's, and what it notes."""

    consumer: Process
    config: Path
    other: Path
    journal: Path


def in_place(
    setup: BenchmarkSetup, *, rate: int, seconds: float, max_wait: float
) -> BenchmarkResult:
    """Measure one consumer under a steady load for `seconds` each: alone, and beside replays."""
    folder = setup.folder / TOPIC
    own = config.of_topic(folder, setup.bootstrap, TOPIC, batching={"max_wait": max_wait})
    create(setup.bootstrap, TOPIC, PARTITIONS)
    command = [sys.executable, "-m", "benchmarks.in_place", str(own)]
    with (
        _loaded(setup.bootstrap, rate),
        measure.running(command, folder / "log") as consumer,
    ):
        setting = Setting(consumer, own, _other(own), folder / "journal")
        _await_first(setting, folder)
        time.sleep(WARM_UP_S)
        rows = [
            _phase("alone", setting, seconds, _rest),
            _phase("replay --into", setting, seconds, lambda n: _into(setting, n)),
            _phase("replay --replace", setting, seconds, lambda n: _replace(setting, n)),
        ]
    for row in rows:
        row["p99 ratio"] = row["p99 ms"] / rows[0]["p99 ms"]
    _run(own, "verify", "pin")
    parameters = {"rate": rate, "seconds": seconds, "max_wait": max_wait}
    return result("in-place", parameters, rows)


def changed(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Clean pins as `transforms.pin`, with another title: every row differs."""
    return pin.clean(rows).with_columns(title=pl.concat_str(pl.lit("v2 "), pl.col("title")))


@contextmanager
def _loaded(bootstrap: str, rate: int) -> Iterator[None]:
    """Produce at the rate while the block runs."""
    pins()  # cached before the measurement
    ending = threading.Event()

    def send() -> None:
        for _ in steady(bootstrap, [TOPIC], PARTITIONS, rate, lambda _: not ending.is_set()):
            pass

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _other(own: Path) -> Path:
    """Write the same configuration with the other transform."""
    tree = yaml.safe_load(own.read_text(encoding="utf-8"))
    tree["pipelines"]["pin"]["transform"] = "benchmarks.in_place:changed"
    path = own.parent / "other" / "config.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def _await_first(setting: Setting, folder: Path) -> None:
    log = commits.CommitFollower(commits.local(folder / "pin"))
    deadline = time.monotonic() + TIMEOUT_S
    while not log.advance():
        measure.refuse_dead([setting.consumer], folder / "log")
        if time.monotonic() > deadline:
            raise SystemExit(f"no row was committed: {folder / 'log'}")
        time.sleep(0.1)


def _phase(
    name: str, setting: Setting, seconds: float, act: Callable[[int], int]
) -> dict[str, Any]:
    """Call `act` for `seconds`; return what the consumer noted meanwhile, and how many replays."""
    began, replays, calls = time.time(), 0, 0
    while time.time() < began + seconds:
        replays += act(calls)
        calls += 1
    measure.refuse_dead([setting.consumer], setting.config.parent / "log")
    noted = [n for n in _noted(setting.journal) if began <= n[0] <= time.time()]
    took = pl.Series([1000 * n[3] for n in noted if n[1:3] == ["committed", "clean"]])
    shares = {"p50 ms": 0.5, "p95 ms": 0.95, "p99 ms": 0.99, "max ms": 1.0}
    found = {key: took.quantile(share, "nearest") for key, share in shares.items()}
    faults = {
        kind: sum(n[1] == event for n in noted)
        for kind, event in (("conflicts", "overtaken"), ("retries", "_retried"))
    }
    return {"beside": name, "replays": replays, "commits": len(took), **found, **faults}


def _rest(_number: int) -> int:
    time.sleep(0.1)
    return 0


def _into(setting: Setting, number: int) -> int:
    _run(setting.other, "replay", "pin", "--into", f"again{number}", "--json")
    return 1


def _replace(setting: Setting, number: int) -> int:
    path = setting.config if number % 2 else setting.other
    _run(path, "replay", "pin", "--replace", "--json")
    return 1


def _run(path: Path, *words: str) -> None:
    with measure.pinpip(path, *words) as process:
        if process.wait(TIMEOUT_S):
            measure.refuse_dead([process], path.parent / "log")


def _noted(journal: Path) -> Sequence[list[Any]]:
    """Return the complete lines: [wall clock in s, event, …]."""
    lines = journal.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def consume(path: Path) -> None:
    """Run `pinpip consume pin`; write what its observer hears to the file `journal`."""
    from monitor.state import PipelineState  # noqa: PLC0415  # not in the measuring process
    from pinpip import cli  # noqa: PLC0415

    with (path.parent / "journal").open("a", encoding="utf-8", buffering=1) as out:

        def noting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(call)
            def noted(state: object, *told: object) -> Any:
                out.write(json.dumps([time.time(), name, *told], default=str) + "\n")
                return call(state, *told)

            return noted

        for name in ("committed", "overtaken", "_retried"):
            setattr(PipelineState, name, noting(name, getattr(PipelineState, name)))
        sys.argv = ["pinpip", "--config", str(path), "consume", "pin"]
        cli.main()


if __name__ == "__main__":
    consume(Path(sys.argv[1]))
