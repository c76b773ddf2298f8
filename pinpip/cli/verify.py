"""`pinpip verify`: the proof, from the data."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.shared import settings_of, show
from pinpip.errors import FatalError, RecordsExpired

if TYPE_CHECKING:
    from pinpip.config import Config
    from sinks.verify import Report

DIFFERENCE = 3
GRACE = 60.0


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
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Prove from the data that each record is in its table or quarantine exactly once.

    Exit code 3 when a difference is found. Example: pinpip verify pin --grace 5
    """
    config = settings_of(context).config()
    names = pipelines or list(config.pipelines)
    trees = [examine(config, name, None if offline else grace) for name in names]
    if not any(tree["partitions"] or tree["findings"] for tree in trees):
        raise FatalError(
            f"there is nothing to verify: {config.lake.root} has no rows of {', '.join(names)}",
            "fill the tables first: pinpip consume",
        )
    if as_json:
        typer.echo(json.dumps(trees, default=str))
    else:
        print_verdict(trees)
    if any(tree["findings"] for tree in trees):
        raise typer.Exit(DIFFERENCE)


def examine(config: "Config", name: str, grace: float | None) -> dict[str, Any]:
    """One pipeline's counts and findings; `grace` None leaves the source out."""
    from pinpip.cli.compose import tables_of
    from sinks.verify import verify as compare

    report = compare(tables_of(config, name))
    findings = [
        {"kind": str(f.kind), "where": _text(f.partition), "detail": f.detail}
        for f in report.findings
    ]
    if grace is not None:
        findings += _unread(config, name, report, grace)
    return {
        "pipeline": name,
        "read": sum(t.read for t in report.tallies),
        "clean": sum(t.clean for t in report.tallies),
        "quarantined": sum(t.quarantined for t in report.tallies),
        "partitions": len(report.tallies),
        "findings": findings,
    }


def print_verdict(trees: list[dict[str, Any]]) -> None:
    """The counts, each difference, and the verdict in one line."""
    counts = [
        {k: v for k, v in tree.items() if k != "findings"} | {"differences": len(tree["findings"])}
        for tree in trees
    ]
    show("Verify", counts, as_json=False)
    findings = [{"pipeline": t["pipeline"], **f} for t in trees for f in t["findings"]]
    if findings:
        show("Differences", findings, as_json=False)
    rows = sum(tree["clean"] + tree["quarantined"] for tree in trees)
    good = f"exactly once: {rows:,} rows, none missing, none twice"
    typer.echo(f"{len(findings)} differences found" if findings else good)


def _unread(config: "Config", name: str, report: "Report", grace: float) -> list[dict[str, Any]]:
    """What the source still holds for too long, or no longer holds at all."""
    from pinpip.cli.ends import unread
    from pinpip.clock import SystemClock

    clock = SystemClock()
    positions = {t.partition: t.position for t in report.tallies}
    older_than = clock.now() - timedelta(seconds=grace)
    try:
        found = unread(config, name, positions, older_than, clock)
    except RecordsExpired as error:
        return [{"kind": "expired", "where": name, "detail": error.message}]
    late = f"records older than {grace:g} s are not in the table: is its consumer up?"
    return [
        {"kind": "behind", "where": str(partition), "detail": f"{n} {late}"}
        for partition, n in found.items()
    ]


def _text(where: object) -> str:
    return "the whole table" if where is None else str(where)
