"""verify's second reading: the source again, compared with what the sinks hold."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pydantic import ValidationError

from audit.archive import Archive
from audit.invariants import Finding, Unknown
from audit.reread import Comparison
from audit.snapshot import Snapshot
from audit.verify import Report, Watch
from consumers.engine.loop import THREADS, Loop
from core.batch import Batch, Partition, Position, Stretch
from core.clock import SystemClock
from core.config import Config, Pipeline, Where
from core.errors import ConfigError, RecordsExpired
from core.observer import Unobserved
from pinpip import pipelines
from pinpip.connectors.protocol import Connector, Starts, Watermarks
from pinpip.verify.verdict import RereadPlan
from transforms.load import load_transform, version_of
from transforms.selection import FormerTest

STRETCH = 1000
_TRIES = 10
_PAST = (
    "an archive of stage clean keeps its rows as they were before a replay in place or a requeue"
    " changed the table: they were not compared with the source"
)


@dataclass(frozen=True)
class Held:
    """What a pipeline's sinks hold, as verify saw it, and their source with its `watermarks`.

    `former`: the tests of `where` that were in force, see `former_tests`.
    """

    clean: Snapshot
    quarantine: Snapshot
    archives: Sequence[Archive]
    report: Report
    connector: Connector
    watermarks: Watermarks
    former: Sequence[FormerTest] = ()


@dataclass(frozen=True)
class Reread:
    """How many `records` were read again, and compared with how many `rows` of the tables.

    `out_of_reach`: rows whose records the source no longer gives; of a sample: stretches that
    could not be read. `settled`: partitions of which everything was compared from the first row on;
    `whole`: those that were compared from the first record of all. `unknown`: what was left out.
    """

    findings: tuple[Finding, ...]
    records: int
    rows: int
    out_of_reach: int
    settled: frozenset[Partition] = frozenset()
    whole: frozenset[Partition] = frozenset()
    unknown: tuple[Unknown, ...] = ()


def reread(config: Config, name: str, held: Held, plan: RereadPlan, watch: Watch) -> Reread:
    """Read the source again through the pipeline's own decode and transform, and compare.

    `watch` is told how many records came, and of how many about.
    """
    past = [a for a in held.archives if a.stage == "clean" and held.clean.replaced]
    held = replace(
        held,
        former=former_tests(held.clean, config.pipeline(name)),
        archives=[archive for archive in held.archives if archive not in past],
    )
    if plan.sample is None:
        found = _whole(config, name, held, watch)
    else:
        found = _sampled(config, name, held, plan.sample, plan.seed, watch)
    return replace(found, unknown=tuple(Unknown(None, f"{a.name}: {_PAST}") for a in past))


def _whole(config: Config, name: str, held: Held, watch: Watch) -> Reread:
    tallies = {t.partition: t for t in held.report.tallies}
    starts, skips = held.connector.reach(tallies, held.watermarks)
    total = _total(held, starts)
    earlier = pipelines.earlier_of(config.pipeline(name))
    comparison = _comparison(held, starts, skips, earlier)
    _run(config, name, held, comparison, lambda: watch("", comparison.records, total))
    rows = _rows(comparison, held)
    everything = sum(t.clean + t.quarantined for t in held.report.tallies)
    settled = {p for p in starts if comparison.is_done(p) and _began_first(held, p, starts[p])}
    return Reread(
        findings=_with_versions(config, name, held, comparison.findings()),
        records=comparison.records,
        rows=rows,
        out_of_reach=max(0, everything - rows),
        settled=frozenset(settled),
        whole=frozenset(p for p in settled if starts[p] == Position(0)),
    )


def _with_versions(
    config: Config, name: str, held: Held, findings: Sequence[Finding]
) -> tuple[Finding, ...]:
    """Tell with each difference which other versions of the transform wrote to the table."""
    if not findings:
        return ()
    own = version_of(load_transform(config.pipeline(name).transform))
    written = {entry.transform_version for _, entry in held.clean.commits()}
    others = ", ".join(sorted(version for version in written if version not in {own, None}))
    told = f"; transform_version is {own}, other commits have {others}" if others else ""
    return tuple(replace(finding, detail=finding.detail + told) for finding in findings)


def _began_first(held: Held, partition: Partition, start: Position | None) -> bool:
    """Whether the comparison began no later than the first row, which Kinesis does not say."""
    [first] = [t.first for t in held.report.tallies if t.partition == partition]
    return start is not None and isinstance(first, int) and start.number <= first


def _total(held: Held, starts: Starts) -> int:
    """Offsets to be read; Kinesis: the records that the ledger knows of."""
    if not held.watermarks:
        return sum(t.read for t in held.report.tallies)
    ends = {t.partition: t.position for t in held.report.tallies}
    spans = [(start, ends[p]) for p, start in starts.items()]
    return sum(max(0, end.number - start.number) for start, end in spans if start and end)


def _sampled(config: Config, name: str, held: Held, sample: int, seed: int, watch: Watch) -> Reread:
    drawn = _draws(held, sample, random.Random(seed))
    within = [(p, at) for p, at in drawn if _is_in_reach(held, p, at)]
    compared: list[Comparison] = []
    earlier = pipelines.earlier_of(config.pipeline(name))

    def tell() -> None:
        watch("", sum(one.records for one in compared), len(within) * STRETCH)

    for starts in _rounds(within):
        skips = _ends(held)
        compared.append(_comparison(held, starts, skips, earlier, most=STRETCH))
        _run(config, name, held, compared[-1], tell)
    return Reread(
        findings=_with_versions(config, name, held, [f for c in compared for f in c.findings()]),
        records=sum(one.records for one in compared),
        rows=sum(_rows(one, held) for one in compared),
        out_of_reach=len(drawn) - len(within),
    )


def _draws(held: Held, sample: int, rng: random.Random) -> list[tuple[Partition, Position]]:
    sides = [side for side in (held.clean, held.quarantine) if side.height]
    heights = [side.height for side in sides]
    drawn = [rng.choices(sides, heights)[0].draw(rng) for _ in range(sample if sides else 0)]
    return [found for found in drawn if found is not None]


def _is_in_reach(held: Held, partition: Partition, at: Position) -> bool:
    if not held.watermarks:
        return True
    low, high = held.watermarks.get(partition, (at, Position(-1)))
    return low <= at <= high


def _ends(held: Held) -> dict[Partition, Position]:
    """Where there is nothing left to read, or little."""
    if held.watermarks:
        return {p: high for p, (_, high) in held.watermarks.items()}
    return {t.partition: t.position for t in held.report.tallies if t.position}


def _rounds(within: Sequence[tuple[Partition, Position]]) -> Iterator[Starts]:
    """Order the ranges in turns, none with two of one partition."""
    left = list(within)
    while left:
        turn: Starts = dict(reversed(left))
        yield turn
        left = [(p, at) for p, at in left if turn[p] != at]


def _rows(comparison: Comparison, held: Held) -> int:
    return sum(comparison.rows[side.name] for side in (held.clean, held.quarantine))


def _comparison(
    held: Held,
    starts: Starts,
    skips: Mapping[Partition, Position],
    earlier: Callable[[Batch], Batch],
    most: int | None = None,
) -> Comparison:
    return Comparison(
        [held.clean, held.quarantine, *held.archives],
        starts,
        held.connector.coordinates,
        skips=skips,
        limit=most,
        compacted=held.connector.forgetful(),
        earlier=earlier,
    )


def _run(
    config: Config,
    name: str,
    held: Held,
    comparison: Comparison,
    tell: Callable[[], None],
    tries: int = _TRIES,
) -> None:
    """Read until the comparison is done; retention may overtake it, then it goes on behind that."""
    try:
        _read(config, name, held, comparison, tell)
    except RecordsExpired:
        watermarks = held.connector.watermarks()
        if not (watermarks and tries):
            raise
        comparison.skip({p: low for p, (low, _) in watermarks.items()})
        _run(config, name, held, comparison, tell, tries - 1)


def _read(
    config: Config,
    name: str,
    held: Held,
    comparison: Comparison,
    tell: Callable[[], None],
) -> None:
    if comparison.done:
        return
    pipeline = config.pipeline(name)
    limits = replace(pipelines.limits_of(config), reject_ratio=1.0)
    headers = any(where and where.header_name for where, _ in held.former)

    def compared(_: Batch) -> None:
        tell()
        if comparison.done:
            loop.stop()

    clock = SystemClock()
    with ThreadPoolExecutor(THREADS, "compare") as workers:
        loop = Loop(
            held.connector.bounded(headers=headers),
            pipelines.process_of(pipeline, keep_values=True, former=held.former),
            [comparison],
            limits,
            clock,
            workers,
            Unobserved(clock, compared),
        )
        loop.run()


def former_tests(clean: Snapshot, pipeline: Pipeline) -> list[FormerTest]:
    """Return the tests of `where` that the table's ledger has beside the pipeline's, with ranges.

    The oldest one is taken to hold before the log begins as well. Raises ConfigError for a test
    that this version does not know.
    """
    if clean.tests <= {pipelines.where_of(pipeline)}:
        return []
    found: list[tuple[str | None, dict[Partition, Stretch]]] = []
    for _, entry in reversed(clean.commits()):
        if not found or found[-1][0] != entry.where:
            found.append((entry.where, {}))
        own = found[-1][1]
        for r in entry.ranges:
            start = None if len(found) == 1 else r.start
            own[r.of] = Stretch(own[r.of].start if r.of in own else start, r.end)
    try:
        return [(_parsed(test), ranges) for test, ranges in found]
    except ValidationError as error:
        raise ConfigError(
            f"{clean.name}: a commit has a `where` that is not known here", "upgrade pinpip"
        ) from error


def _parsed(test: str | None) -> Where | None:
    return None if test is None else Where.model_validate_json(test)
