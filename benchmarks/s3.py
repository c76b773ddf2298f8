"""Compare pinpip on a local disk with pinpip on S3, without and with the latencies of a bucket."""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks import check, commits, config, contest, measure
from benchmarks.contest import PINPIP, BenchmarkSetup, RunMeasurement
from benchmarks.models.delays import Profile, profile
from benchmarks.models.journal import ARCHIVE, counted
from benchmarks.models.process import Model, running
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import Topic, fill, pins

BUCKET = "lake"
DISK = "disk"
_OPTIONS = {"aws_allow_http": "true", "aws_conditional_put": "etag"}


@dataclass(frozen=True)
class Place:
    """Where a run writes: a store with this profile; None: this disk. `consumers`: of one group."""

    name: str
    profile: Profile | None
    consumers: int = 1


@dataclass(frozen=True)
class PlaceRun:
    """One run; `requests`: those between the first commit and the last. CPU of the model in s/s."""

    outcome: RunMeasurement
    requests: Counter[str]
    model_busy: float

    @property
    def steady(self) -> contest.SteadyState:
        """Return the steady state; raises SystemExit when there was only one commit."""
        if self.outcome.steady is None:
            raise SystemExit("there was one commit only: give it more --records")
        return self.outcome.steady

    def per_commit(self, kinds: Iterable[str]) -> float:
        """Return the requests of these kinds per commit in steady state."""
        return sum(self.requests[kind] for kind in kinds) / self.steady.commits


def places(delays_ms: Sequence[float], slow_down: float) -> list[Place]:
    """Return the disk, and S3 with each delay as the median of small requests."""
    on_s3 = [
        Place(_name(delay), profile(delay, slow_down if delay else 0.0)) for delay in delays_ms
    ]
    return [Place(DISK, None), *on_s3]


def chosen(every: Sequence[Place], names: Sequence[str]) -> list[Place]:
    """Return the places called `disk` or by their delay in ms."""
    wanted = {DISK if name == DISK else _name(float(name)) for name in names}
    return [place for place in every if place.name in wanted]


def _name(delay: float) -> str:
    return f"s3 p50 {delay:g} ms"


def s3(
    setup: BenchmarkSetup, chosen: Sequence[Place], *, records: int, rounds: int, archive: bool
) -> BenchmarkResult:
    """Read one topic into every place, and return the figures by place."""
    found = _rounds(setup, chosen, records=records, rounds=rounds, archive=archive)
    parameters = {"records": records, "rounds": rounds, "archive": archive}
    return result("s3", parameters, [_row(place, found) for place in chosen])


def group(
    setup: BenchmarkSetup, delay_ms: float, *, records: int, rounds: int, archive: bool
) -> BenchmarkResult:
    """Compare two consumers of one group with one, on one table in the bucket."""
    store = profile(delay_ms)
    chosen = [Place(f"{number} of a group", store, number) for number in (1, 2)]
    found = _rounds(setup, chosen, records=records, rounds=rounds, archive=archive)
    one = found[chosen[0].name]
    rows = [{**_row(place, found), "x one": _ratio(found[place.name], one)} for place in chosen]
    parameters = {"records": records, "rounds": rounds, "archive": archive, "delay": delay_ms}
    return result("s3-group", parameters, rows)


def _rounds(
    setup: BenchmarkSetup, chosen: Sequence[Place], *, records: int, rounds: int, archive: bool
) -> dict[str, list[PlaceRun]]:
    """Fill a topic once; each round reads it into every place."""
    topic = fill(setup.bootstrap, "pin", 4, records, pins())
    found: dict[str, list[PlaceRun]] = {place.name: [] for place in chosen}
    with running("s3", setup.folder) as model:
        for number in range(rounds):
            for nth, place in enumerate(chosen):
                folder = setup.folder / f"place{nth}-{number}"
                found[place.name].append(_run(setup, model, topic, place, folder, archive=archive))
                shutil.rmtree(folder)
    return found


def _run(
    setup: BenchmarkSetup,
    model: Model,
    topic: Topic,
    place: Place,
    folder: Path,
    *,
    archive: bool,
) -> PlaceRun:
    """Run once, and check the table."""
    if place.profile is None:
        raw = str(folder / ARCHIVE) if archive else None
        config.of_topic(folder, topic.bootstrap, topic.name, archive=raw)
        log, table, own = commits.local(folder / "pin"), str(folder / "pin"), None
    else:
        model.begin(place.profile, BUCKET)
        bucket_config(folder, topic, model, archive=archive)
        log, table, own = model.table(BUCKET, "pin").read, f"s3://{BUCKET}/pin", options(model)
    began = measure.usage(model.process.pid).cpu
    follower = commits.CommitFollower(log)
    outcome = contest.run_configured(
        PINPIP, topic, folder, setup.broker, follower, processes=place.consumers
    )
    busy = (measure.usage(model.process.pid).cpu - began) / outcome.whole
    steady = outcome.steady
    requests = counted(model.journal(), steady.begin, steady.end) if steady else Counter[str]()
    model.request("POST", "/-/profile", Profile().model_dump_json())
    faults = check.faults(table, topic, own)
    if faults:
        raise SystemExit(f"{place.name}: {'; '.join(faults)}")
    return PlaceRun(outcome, requests if place.profile else Counter(), busy)


def bucket_config(
    folder: Path, topic: Topic, model: Model, *, archive: bool, **sections: object
) -> Path:
    """Write the configuration of a pipeline with its table and its archive in the bucket."""
    return config.of_topic(
        folder,
        topic.bootstrap,
        topic.name,
        root=f"s3://{BUCKET}",
        archive=f"s3://{BUCKET}/{ARCHIVE}" if archive else None,
        aws=model.section,
        **sections,
    )


def options(model: Model) -> dict[str, str]:
    """Return what delta-rs and polars need to open a table."""
    return {f"aws_{name}": value for name, value in model.section.items()} | _OPTIONS


def _row(place: Place, found: dict[str, list[PlaceRun]]) -> dict[str, object]:
    """Return medians of the rounds; ratios are taken per round, under the same load."""
    runs = found[place.name]
    return {
        "place": place.name,
        "steady/s": round(median(run.steady.rate for run in runs)),
        "whole/s": round(median(run.outcome.whole_rate for run in runs)),
        "x no delay": _ratio(runs, found.get(_name(0), [])),
        "x disk": _ratio(runs, found.get(DISK, [])),
        "first row s": median(run.outcome.first_row or 0 for run in runs),
        "rows/commit": round(median(run.steady.rows / run.steady.commits for run in runs)),
        "req/commit": median(run.per_commit(_tabled(run.requests)) for run in runs),
        "archive/commit": median(run.per_commit([f"PUT {ARCHIVE}"]) for run in runs),
        "cores": median(run.steady.busy for run in runs),
        "store cores": median(run.model_busy for run in runs),
        "CPU s/M": median(run.outcome.cpu for run in runs),
        "peak MB": median(run.outcome.peak_mb for run in runs),
        "runs": [
            {**asdict(run.outcome), "requests": dict(sorted(run.requests.items()))} for run in runs
        ],
    }


def _tabled(requests: Iterable[str]) -> list[str]:
    return [kind for kind in requests if not kind.endswith(ARCHIVE)]


def _ratio(runs: Sequence[PlaceRun], others: Sequence[PlaceRun]) -> float | None:
    pairs = list(zip(runs, others, strict=False))
    return median(own.steady.rate / other.steady.rate for own, other in pairs) if pairs else None
