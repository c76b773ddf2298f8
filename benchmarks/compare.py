"""Compare contestants: each does the same work, interleaved over several rounds."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks import check, contest
from benchmarks.contest import BenchmarkSetup, Contestant, RunMeasurement
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import Topic, fill, pins

Rounds = dict[str, list[RunMeasurement]]


def compare(
    setup: BenchmarkSetup,
    contestants: Sequence[Contestant],
    *,
    records: int,
    partitions: int,
    rounds: int,
    name: str = "pin",
) -> BenchmarkResult:
    """Fill the topic once, and let each contestant read it `rounds` times."""
    topic = fill(setup.bootstrap, name, partitions, records, pins())
    found: Rounds = {contestant.name: [] for contestant in contestants}
    for number in range(rounds):
        for contestant in contestants:
            folder = setup.folder / f"{contestant.name}{number}"
            outcome = _round(contestant, topic, folder, setup.broker)
            found[contestant.name].append(outcome)
    parameters = {
        "records": records,
        "partitions": partitions,
        "rounds": rounds,
        "mean_bytes": round(topic.mean_bytes, 1),
    }
    return result("compare", parameters, [_row(own, found) for own in contestants])


def _round(
    contestant: Contestant, topic: Topic, folder: Path, broker: int | None
) -> RunMeasurement:
    """Run a contestant once; check its table and delete it."""
    outcome = contest.run(contestant, topic, folder, broker)
    if outcome.commits:
        faults = check.faults(str(folder / "pin"), topic)
        if faults:
            raise SystemExit(f"{contestant.name} did not do the work: {'; '.join(faults)}")
    shutil.rmtree(folder)
    return outcome


def _row(contestant: Contestant, found: Rounds) -> dict[str, object]:
    """Return medians of the rounds; ratios are taken per round, under the same load."""
    runs, own = found[contestant.name], found.get("pinpip", [])
    rate = [p.rate / r.rate for p, r in zip(own, runs, strict=False)]
    steady = [p.steady_rate / r.steady_rate for p, r in zip(own, runs, strict=False)]
    whole = [p.whole_rate / r.whole_rate for p, r in zip(own, runs, strict=False)]
    return {
        "contestant": contestant.name,
        "records/s": round(median(run.rate for run in runs)),
        "steady/s": round(median(run.steady_rate for run in runs)),
        "whole/s": round(median(run.whole_rate for run in runs)),
        "CPU s/M": median(run.cpu for run in runs),
        "broker s/M": median(run.broker_cpu for run in runs),
        "peak MB": median(run.peak_mb for run in runs),
        "first row s": _median_or_none([run.first_row for run in runs]),
        "pinpip is x": median(rate) if rate else None,
        "steady x": median(steady) if steady else None,
        "whole x": median(whole) if whole else None,
        "target x": contestant.target,
        "runs": [asdict(run) for run in runs],
    }


def _median_or_none(values: Sequence[float | None]) -> float | None:
    held = [value for value in values if value is not None]
    return median(held) if held else None
