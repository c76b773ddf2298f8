"""`pinpip verify`: the proof, from the data."""

import json
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.shared import TIMES, progress_bar, settings_of, show, utc
from pinpip.errors import ConfigError, FatalError, RecordsExpired, TopicRecreated

if TYPE_CHECKING:
    from rich.progress import Progress

    from pinpip.batch import Position
    from pinpip.cli.ends import Marks
    from pinpip.cli.reread import Reread
    from pinpip.config import Config
    from sinks.archive import Tally as Chain
    from sinks.verify import Report, Tally, Watch

DIFFERENCE = 3
GRACE = 60.0
_REREAD = "Read the source again"
_LEDGER = "Look up"


def _moment(said: str) -> Any:
    """The option of a time to look commits up by."""
    return typer.Option(formats=TIMES, metavar="TIME", help=said, rich_help_panel=_LEDGER)


@dataclass(frozen=True)
class Plan:
    """What is read again: everything, or `sample` stretches of 1,000 records that `seed` draws."""

    sample: int | None = None
    seed: int = 0


def verify(
    context: typer.Context,
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines of config.yaml; all when none is named.")
    ] = None,
    grace: Annotated[
        float, typer.Option(help="Seconds that a record may wait in the source unread.")
    ] = GRACE,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask the tables alone, not the sources.")
    ] = False,
    partitions: Annotated[
        bool, typer.Option("--partitions", help="Show each partition, and each archive's chains.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    reread: Annotated[
        bool,
        typer.Option(
            "--reread",
            help="All of it, and compare every row's content.",
            rich_help_panel=_REREAD,
        ),
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many stretches of 1,000 records instead.", rich_help_panel=_REREAD
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Draw these stretches again.", rich_help_panel=_REREAD)
    ] = None,
    ledger: Annotated[
        bool,
        typer.Option("--ledger", help="Show the newest commits.", rich_help_panel=_LEDGER),
    ] = False,
    offset: Annotated[
        str | None,
        typer.Option(
            help="Where a record is: PARTITION:OFFSET or SHARD:SEQUENCE.", rich_help_panel=_LEDGER
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        _moment("Commits from then on (UTC)."),
    ] = None,
    until: Annotated[
        datetime | None,
        _moment("Commits before then (UTC)."),
    ] = None,
) -> None:
    """Prove from the data that each record is in its table or quarantine exactly once.

    Exit code 3 when a difference is found. --ledger proves nothing: it says which commit and file
    hold a record (--offset), and what was committed when (--since, --until).
    Example: pinpip verify pin --grace 5
    """
    config = settings_of(context).config()
    names = pipelines or list(config.pipelines)
    if ledger or offset is not None or since is not None or until is not None:
        from pinpip.cli.lookup import look_up

        look_up(config, names, offset, utc(since), utc(until), as_json=as_json)
        return
    if offline and (reread or sample is not None):
        raise ConfigError("--offline does not ask the source", "leave it out to read it again")
    drawn = random.SystemRandom().randrange(10**6) if seed is None else seed
    plan = Plan(sample, drawn) if reread or sample is not None else None
    with progress_bar(quiet=as_json) as bar:
        trees = [examine(config, name, None if offline else grace, plan, bar) for name in names]
    if not any(tree["partitions"] or tree["findings"] for tree in trees):
        raise FatalError(
            f"there is nothing to verify: {config.lake.root} has no rows of {', '.join(names)}",
            "fill the tables first: pinpip consume",
        )
    if as_json:
        typer.echo(json.dumps(trees, default=str))
    else:
        print_verdict(trees, partitions=partitions)
    if any(tree["findings"] for tree in trees):
        raise typer.Exit(DIFFERENCE)


def examine(
    config: "Config",
    name: str,
    grace: float | None,
    plan: Plan | None = None,
    bar: "Progress | None" = None,
) -> dict[str, Any]:
    """One pipeline's counts and findings; `grace` None leaves the source out.

    With a `plan` the source is read again and compared, content included. Keys: pipeline, read,
    clean, quarantined, partitions (how many), findings, by_partition, archives, reread (or None).
    """
    from pinpip.cli.compose import archives_of, tables_of
    from pinpip.cli.ends import marks_of
    from sinks.verify import prove, snapshots

    clean, quarantine = snapshots(tables_of(config, name))
    archives = archives_of(config, name)
    report = prove(clean, quarantine, archives, _watch(bar, name))
    marks = {} if grace is None and plan is None else marks_of(config, name)
    late = [] if grace is None else _late(config, name, report, marks, grace)
    again = None
    if plan is not None:
        from pinpip.cli.reread import Held, reread

        held = Held(clean, quarantine, archives, report, marks)
        again = reread(config, name, held, plan, _watch(bar, f"{name}, again"))
    return {
        "pipeline": name,
        "read": sum(t.read for t in report.tallies),
        "clean": sum(t.clean for t in report.tallies),
        "quarantined": sum(t.quarantined for t in report.tallies),
        "partitions": len(report.tallies),
        "findings": [*_differences(report, again), *late],
        "by_partition": [_partition(t, marks) for t in report.tallies],
        "archives": [_chain(chain) for chain in report.chains],
        "reread": None if again is None or plan is None else _again(again, plan),
    }


def _differences(report: "Report", again: "Reread | None") -> list[dict[str, str]]:
    """What is wrong with the data; reading everything again tells what an expired ledger cannot."""
    settled = again.settled if again else ()
    found = [f for f in report.findings if not (f.kind == "gap" and f.partition in settled)]
    found += again.findings if again else ()
    return [_finding(str(f.kind), f.partition or "the whole table", f.detail) for f in found]


def _late(
    config: "Config", name: str, report: "Report", marks: "Marks", grace: float
) -> list[dict[str, str]]:
    """What the source holds for too long or no longer, and positions that it cannot have."""
    from pinpip.cli.ends import misplaced, unread
    from pinpip.clock import SystemClock

    clock = SystemClock()
    positions = {t.partition: t.position for t in report.tallies}
    wrong = misplaced(positions, marks)
    elsewhere = {p: marks[p][1] for p, *_ in wrong if p in marks}
    since = clock.now() - timedelta(seconds=grace)
    late = f"records older than {grace:g} s are not in the table: is its consumer up?"
    try:
        behind = unread(config, name, positions | elsewhere, since, clock)
    except RecordsExpired as error:
        return [_finding("expired", name, error.message)]
    except TopicRecreated as error:
        return [_finding("recreated", name, error.message)]
    return [
        *(_finding(kind, partition, detail) for partition, kind, detail in wrong),
        *(_finding("behind", partition, f"{n} {late}") for partition, n in behind.items()),
    ]


def _finding(kind: str, where: object, detail: str) -> dict[str, str]:
    return {"kind": kind, "where": str(where), "detail": detail}


def _partition(tally: "Tally", marks: "Marks") -> dict[str, Any]:
    """One partition's numbers beside the source's; numbers of Kinesis as text."""
    position = tally.position
    low, high = marks.get(tally.partition, (None, None))
    lag = max(0, high.number - (position.number if position else 0)) if high else None
    return {
        "partition": str(tally.partition),
        "first_offset": low.number if low else None,
        "end": high.number if high else None,
        "position": _number(position),
        "lag": lag,
        "read": tally.read,
        "clean": tally.clean,
        "quarantined": tally.quarantined,
        "filtered": tally.filtered,
        "gaps": tally.gaps,
    }


def _chain(chain: "Chain") -> dict[str, Any]:
    return {
        "archive": chain.archive,
        "partition": str(chain.partition),
        "objects": chain.objects,
        "records": chain.records,
        "start": _number(chain.start),
        "end": _number(chain.end),
    }


def _number(position: "Position | None") -> int | str | None:
    """An offset; a sequence number as text: programs read large numbers as floats."""
    if position is None:
        return None
    return position.number if position.number < 2**53 else f"{position.number}.{position.sub}"


def _again(again: "Reread", plan: Plan) -> dict[str, Any]:
    return {
        "records": again.records,
        "rows": again.rows,
        "out_of_reach": again.out_of_reach,
        "sample": plan.sample,
        "seed": None if plan.sample is None else plan.seed,
    }


def _watch(bar: "Progress | None", name: str) -> "Watch":
    """What moves the bar by one task of its own."""
    if bar is None:
        return lambda _what, _done, _total: None
    task = bar.add_task(name, total=None)
    return lambda what, done, total: bar.update(
        task, description=f"{name} {what}", completed=done, total=total
    )


def print_verdict(trees: list[dict[str, Any]], *, partitions: bool = False) -> None:
    """The counts, each difference, and the verdict in one line."""
    counts = [
        {k: tree[k] for k in ("pipeline", "read", "clean", "quarantined", "partitions")}
        | {"differences": len(tree["findings"])}
        for tree in trees
    ]
    show("Verify", counts, as_json=False)
    for title, key in (("Partitions", "by_partition"), ("Archives", "archives")):
        rows = [row for tree in trees for row in tree[key]]
        if partitions and rows:
            show(title, rows, as_json=False)
    again = [{"pipeline": t["pipeline"], **t["reread"]} for t in trees if t["reread"]]
    if again:
        show("Read again", again, as_json=False)
    findings = [{"pipeline": t["pipeline"], **f} for t in trees for f in t["findings"]]
    if findings:
        show("Differences", findings, as_json=False)
    kept = sum(tree["clean"] + tree["quarantined"] for tree in trees)
    good = f"exactly once: {kept:,} rows, none missing, none twice"
    if again:
        good += f"; {sum(r['rows'] for r in again):,} compared with the source, none different"
    typer.echo(f"{len(findings)} differences found" if findings else good)
