"""Measure pipelines of one process that write to S3 under a steady load: freshness and cost."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import config, latency, prices
from benchmarks.contest import BenchmarkSetup
from benchmarks.latency import Observation
from benchmarks.models.delays import profile
from benchmarks.models.journal import ARCHIVE, counted
from benchmarks.models.process import Model, running
from benchmarks.results import BenchmarkResult, result
from benchmarks.s3 import BUCKET

WARM_UP_S = 10.0


@dataclass(frozen=True)
class Case:
    """So many pipelines of one process, each with `rate` records per second.

    `delay_ms`: the median of the store's small requests; None `max_wait`: pinpip's default.
    """

    rate: int
    pipelines: int
    max_wait: float | None
    delay_ms: float


def case(text: str, max_wait: float | None, delay_ms: float) -> Case:
    """Read `RATExPIPELINES`, such as 1000x6; raises ValueError."""
    rate, _, pipelines = text.partition("x")
    return Case(int(rate), int(pipelines or 1), max_wait, delay_ms)


def freshness(setup: BenchmarkSetup, cases: Sequence[Case], *, seconds: float) -> BenchmarkResult:
    """Measure ages, memory and requests of each case."""
    rows = [_fresh(one, *found) for one, found in _measured(setup, cases, seconds)]
    return result("s3-freshness", {"seconds": seconds, "cases": _named(cases)}, rows)


def costs(setup: BenchmarkSetup, cases: Sequence[Case], *, seconds: float) -> BenchmarkResult:
    """Count the requests of each case, and compute what a month of them costs."""
    rows = [_cost(one, *found) for one, found in _measured(setup, cases, seconds)]
    return result("s3-costs", {"seconds": seconds, "cases": _named(cases)}, rows)


def _named(cases: Sequence[Case]) -> list[str]:
    return [f"{one.rate}x{one.pipelines} max_wait {one.max_wait}" for one in cases]


Counted = tuple[Observation, dict[str, int]]


def _measured(
    setup: BenchmarkSetup, cases: Sequence[Case], seconds: float
) -> list[tuple[Case, Counted]]:
    with running("s3", setup.folder) as model:
        return [(one, _observed(setup, model, nth, one, seconds)) for nth, one in enumerate(cases)]


def _observed(setup: BenchmarkSetup, model: Model, nth: int, one: Case, seconds: float) -> Counted:
    """Observe one case; the second value is the number of requests by kind."""
    model.begin(profile(one.delay_ms), BUCKET)
    folder, topics = setup.folder / f"case{nth}", [f"case{nth}t{n}" for n in range(one.pipelines)]
    path = config.of_topics(
        folder,
        setup.bootstrap,
        {topic: topic for topic in topics},
        root=f"s3://{BUCKET}",
        aws=model.section,
        batching={} if one.max_wait is None else {"max_wait": one.max_wait},
    )
    tables = {topic: model.table(BUCKET, topic) for topic in topics}
    rate = one.rate * one.pipelines
    seen = latency.observed(setup.bootstrap, path, tables, rate, seconds, WARM_UP_S)
    shutil.rmtree(folder)
    return seen, dict(counted(model.journal(), seen.begin, seen.end))


def _fresh(one: Case, seen: Observation, requests: dict[str, int]) -> dict[str, object]:
    rest = {name: value for name, value in seen.row.items() if name != "rate"}
    return {**_key(one), **rest, **_per_commit(seen, requests), "requests": _listed(requests)}


def _cost(one: Case, seen: Observation, requests: dict[str, int]) -> dict[str, object]:
    seconds = seen.end - seen.begin
    own = {kind: n for kind, n in requests.items() if not kind.endswith(ARCHIVE)}
    archive = {kind: n for kind, n in requests.items() if kind.endswith(ARCHIVE)}
    return {
        **_key(one),
        "commits/s": seen.row["commits/s"],
        **_per_commit(seen, requests),
        "tables $/month": prices.monthly(own, seconds),
        "archive $/month": prices.monthly(archive, seconds),
        "$/month": prices.monthly(requests, seconds),
        "requests": _listed(requests),
    }


def _key(one: Case) -> dict[str, object]:
    return {
        "pipelines": one.pipelines,
        "rate each": one.rate,
        "max_wait": one.max_wait or "default",
        "p50 ms": one.delay_ms,
    }


def _per_commit(seen: Observation, requests: dict[str, int]) -> dict[str, object]:
    """Return the requests per commit, of the tables alone, and the archive's PUTs per minute."""
    minutes = (seen.end - seen.begin) / 60
    own = sum(n for kind, n in requests.items() if not kind.endswith(ARCHIVE))
    commits = float(str(seen.row["commits/s"])) * minutes * 60
    return {
        "req/commit": own / commits if commits else None,
        "archive PUT/min": requests.get(f"PUT {ARCHIVE}", 0) / minutes,
    }


def _listed(requests: dict[str, int]) -> list[list[object]]:
    return [[kind, number] for kind, number in sorted(requests.items())]
