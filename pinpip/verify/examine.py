"""One pipeline under verify: its tables, archives and source, as numbers, findings and unknowns."""

from datetime import timedelta
from typing import TYPE_CHECKING

from core.clock import SystemClock
from core.topics import is_pattern
from pinpip.verify.latest import examine_latest
from pinpip.verify.verdict import (
    ChainCounts,
    Discrepancy,
    OpenQuestion,
    PartitionCounts,
    RereadCounts,
    TableSeen,
    Verdict,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.progress import Progress

    from audit.archive import Archive, ChainSummary
    from audit.invariants import Finding, Unknown
    from audit.snapshot import Snapshot
    from audit.verify import PartitionSummary, Report, Watch
    from core.batch import Coordinates, Position
    from core.config import Config
    from pinpip.connectors.protocol import Beyond, Connector, SourceEnds
    from pinpip.verify.reread import Reread
    from pinpip.verify.verdict import RereadPlan

FLUSHING = 60.0  # seconds that writing an archive's objects may take at most
_WHOLE = "the whole table"
_COUNTS = ("read", "clean", "quarantined", "filtered", "left_out", "expired", "accepted_gaps")


def examine(
    config: "Config",
    name: str,
    grace: float | None,
    plan: "RereadPlan | None" = None,
    bar: "Progress | None" = None,
) -> Verdict:
    """Prove one pipeline; `grace` None leaves the source out.

    A record may wait unread for `grace` seconds. With a `plan` the source is read again and
    compared, content included.
    """
    from audit.verify import prove, snapshots
    from pinpip.connectors import connector_of
    from pinpip.connectors.protocol import SourceEnds
    from pinpip.pipelines import tables_of, where_of

    watch = _watch(bar, name)
    archives, closed = _listed(config, name, grace)
    clean, quarantine = snapshots(tables_of(config, name))
    connector = connector_of(config, name, SystemClock())
    ends = SourceEnds() if grace is None else connector.source_ends(must=plan is not None)
    report = prove(clean, quarantine, archives, watch, ends.watermarks)
    late, again = _late(connector, report, ends, grace, clean), None
    if plan is not None:
        from pinpip.verify.reread import Held, reread

        held = Held(clean, quarantine, archives, report, connector, ends.watermarks)
        again = reread(config, name, held, plan, _watch(bar, f"{name}, again"))
    findings, unknown = _judged(report, ends, late, again, tables_of(config, name).coordinates)
    latest = examine_latest(config, name, _watch(bar, name))
    return Verdict(
        pipeline=name,
        **{count: sum(getattr(t, count) for t in report.tallies) for count in _COUNTS},
        held_back=sum(ends.held_back.values()),
        waiting=sum(late.waiting.values()),
        unarchived=sum(chain.waiting for chain in report.chains),
        flushed=[archive.flush.seconds for archive in config.pipeline(name).archives],
        partitions=len(report.tallies),
        findings=[*findings, *latest.findings],
        unknown=[*unknown, *(_unknown(*own) for own in closed.items()), *latest.unknown],
        offline=grace is None,
        transform=config.pipeline(name).transform,
        former_where=_former(clean, where_of(config.pipeline(name))),
        by_partition=[_partition(t, ends) for t in report.tallies],
        archives=[_chain(chain) for chain in report.chains],
        reread=None if again is None or plan is None else _again(again, plan, report),
        tables=_seen(table=clean, quarantine=quarantine),
        latest=latest.counts,
    )


def _late(
    connector: "Connector",
    report: "Report",
    ends: "SourceEnds",
    grace: float | None,
    clean: "Snapshot",
) -> "Beyond":
    """Return what the source has beyond the positions; nothing when it is left out."""
    from pinpip.connectors.protocol import Beyond

    if grace is None:
        return Beyond()
    positions = {t.partition: t.position for t in report.tallies}
    return connector.beyond(positions, ends.watermarks, grace, clean)


def _listed(
    config: "Config", name: str, grace: float | None
) -> "tuple[list[Archive], dict[str, str]]":
    """List the archives: before the tables are opened, which a running consumer writes first."""
    from pinpip.pipelines import archives_of

    waits = timedelta(seconds=FLUSHING if grace is None else grace)
    archives, closed = archives_of(config, name, SystemClock().now() - waits)
    for archive in archives:
        archive.look(n for n in config.pipeline(name).reads if not is_pattern(n))
    return archives, closed


def _seen(**sides: "Snapshot") -> list[TableSeen]:
    return [
        TableSeen.model_validate({"table": name, "id": side.seen[0], "version": side.seen[1]})
        for name, side in sides.items()
        if side.seen is not None
    ]


def _former(clean: "Snapshot", now: str | None) -> list[str]:
    return sorted("all records" if test is None else test for test in clean.tests - {now})


def _judged(
    report: "Report",
    ends: "SourceEnds",
    late: "Beyond",
    again: "Reread | None",
    kind: "Coordinates",
) -> tuple[list[Discrepancy], list[OpenQuestion]]:
    """All findings, and all that is not known: of the tables, the identities and the source."""
    others, silent = _lives(report, late, {**ends.epochs, **late.epochs}, kind, again)
    beyond = [_finding(*found) for found in late.findings]
    left_out = again.unknown if again else ()
    open_ = [_unknown(u.partition, u.detail) for u in [*_unproven(report, again), *left_out]]
    unread = [_unknown(*found) for found in {**ends.unknown, **late.unknown}.items()]
    return [*_differences(report, again), *others, *beyond], [*open_, *silent, *unread]


def _differences(report: "Report", again: "Reread | None") -> list[Discrepancy]:
    """List what is wrong; a full reread settles what an expired ledger leaves open."""
    settled = again.settled if again else ()
    found = [f for f in report.findings if not (f.kind == "gap" and f.partition in settled)]
    found += _sure(report, again.findings) if again else ()
    return [_finding(str(f.kind), f.partition or _WHOLE, f.detail) for f in found]


def _sure(report: "Report", found: "tuple[Finding, ...]") -> "list[Finding]":
    """Differences from the source; a missing one may be a row that names no incarnation."""
    return [f for f in found if not (f.kind == "missing" and f.partition in report.unsure)]


def _unproven(report: "Report", again: "Reread | None") -> "list[Unknown]":
    """List what neither the data nor a reread from the first record proves."""
    whole = again.whole - set(report.unsure) if again else ()
    return [u for u in report.unknown if u.partition not in whole]


def _lives(
    report: "Report",
    late: "Beyond",
    now: "Mapping[str, int | None]",
    kind: "Coordinates",
    again: "Reread | None",
) -> tuple[list[Discrepancy], list[OpenQuestion]]:
    """Sinks of another life of the source than there is `now`, and what could not be compared.

    Where every row of a partition equals the source's record, no identity proves more.
    """
    from audit import identity

    compared = again.settled if again else ()
    unknown = [_unknown(*u) for u in identity.unknown(report.lives, now, kind, compared)]
    found = {str(f.kind) for f in report.findings} | {name for name, *_ in late.findings}
    if "recreated" in found:
        return [], unknown
    different = identity.differences(report.lives, now, kind)
    return [_finding(str(f.kind), f.partition, f.detail) for f in different], unknown


def _finding(kind: str, where: object, detail: str) -> Discrepancy:
    return Discrepancy(kind=kind, where=str(where), detail=detail)


def _unknown(where: object, detail: str) -> OpenQuestion:
    return OpenQuestion(where=str(where or _WHOLE), detail=detail)


def _partition(tally: "PartitionSummary", ends: "SourceEnds") -> PartitionCounts:
    from pinpip.connectors.protocol import lag

    low, high = ends.watermarks.get(tally.partition, (None, None))
    return PartitionCounts(
        partition=str(tally.partition),
        first_offset=low.number if low else None,
        end=high.number if high else None,
        position=_number(tally.position),
        lag=lag(tally.position, low, high) if low and high else None,
        held_back=ends.held_back.get(tally.partition),
        **{count: getattr(tally, count) for count in _COUNTS},
        gaps=tally.gaps,
    )


def _chain(chain: "ChainSummary") -> ChainCounts:
    return ChainCounts(
        archive=chain.archive,
        partition=str(chain.partition),
        objects=chain.objects,
        records=chain.records,
        expired=chain.expired,
        waiting=chain.waiting,
        start=_number(chain.start),
        end=_number(chain.end),
        begins_late=chain.begins_late,
    )


def _number(position: "Position | None") -> int | str | None:
    """Return an offset, or a sequence number as text: programs read large numbers as floats."""
    if position is None:
        return None
    return position.number if position.number < 2**53 else f"{position.number}.{position.sub}"


def _again(again: "Reread", plan: "RereadPlan", report: "Report") -> RereadCounts:
    return RereadCounts(
        records=again.records,
        rows=again.rows,
        out_of_reach=again.out_of_reach,
        expired=sum(tally.expired for tally in report.tallies),
        sample=plan.sample,
        seed=None if plan.sample is None else plan.seed,
    )


def _watch(bar: "Progress | None", name: str) -> "Watch":
    """Return what moves the bar, with a separate task."""
    if bar is None:
        return lambda _what, _done, _total: None
    task = bar.add_task(name, total=None)
    return lambda what, done, total: bar.update(
        task, description=f"{name} {what}", completed=done, total=total
    )
