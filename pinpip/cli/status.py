"""`pinpip status`: where every pipeline is."""

import json
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli import watching
from pinpip.cli.shared import settings_of
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from core.config import Config

# columns that are shown when they tell something
_RARE = (
    "left_out",
    "unclaimed",
    "gone",
    "expired",
    "accepted_gaps",
    "recreated",
    "held_back",
    "small_files",
)
_MANY = 100  # small files: a consumer always leaves some


def status(
    context: typer.Context,
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines of config.yaml; all when none is named.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Renew it until Ctrl-C, with rates and the lag's course."),
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.5, max=3600, help="Seconds between two looks of --watch.")
    ] = 2.0,
    drift: Annotated[
        bool,
        typer.Option("--drift", help="Sum up the fields that the schemas do not take: _rescued."),
    ] = False,
) -> None:
    """Show each table's rows, and each partition's position, its end and the lag between.

    Asks the tables' logs and the sources and reads no row: `pinpip verify` does that.
    Held back is what lies behind a transaction that is still open: nobody can read it yet. Gone is
    what retention took unread, and expired what of that was accepted (consume --accept-gap); of a
    shard only the number of such accepted gaps is known.
    Kinesis does not tell where a shard ends: there the lag is not told (-).
    unknown: a source or a bucket does not respond now; below the tables it is said why.
    left_out: records that the pipeline's `where` does not take; unclaimed: of these, those that no
    other pipeline of the configuration took when they were read.
    recreated: another topic or stream has that name now; the consumer stops and says what to do.
    small_files: data files that `pinpip maintain` would merge; many make queries slow.
    --watch renews a row for each pipeline; with --json it prints one document a line.
    --drift reads the column _rescued of the clean tables instead: of each field how many rows have
    it, the JSON types, where it was seen first (broker time, record) and that value. declared: the
    type in the schema, which did not take these values; - is a field that the schema lacks.
    Example: pinpip status pin
    """
    config = settings_of(context).config()
    names = pipelines or list(config.pipelines)
    if drift:
        _drift(config, names, as_json=as_json, watch=watch)
        return
    from pinpip.status import statuses

    if watch:
        look = partial(statuses, config, names)
        (watching.print_lines if as_json else watching.watch)(look, every)
    trees = [own.tree() for own in statuses(config, names)]
    if as_json:
        typer.echo(json.dumps(trees))
        return
    show("Tables", [_of_table(tree) for tree in trees], as_json=False, rare=_RARE)
    rows = [row for tree in trees for row in _of_partitions(tree)]
    show("Partitions", rows, as_json=False, identity=2, rare=_RARE)
    reasons = {f"{what}: {why}" for tree in trees for what, why in tree["unknown"].items()}
    for reason in sorted(reasons):
        typer.echo(f"unknown: {reason}")
    for tree in trees:
        if (small := tree["small_files"] or 0) >= _MANY:
            what = f"{small:,} small files make queries slow"
            typer.echo(f"{tree['pipeline']}: {what}; next: pinpip maintain {tree['pipeline']}")


def _drift(config: "Config", names: list[str], *, as_json: bool, watch: bool) -> None:
    if watch:
        raise typer.BadParameter("it reads rows: once is enough", param_hint="--drift --watch")
    from pinpip.cli.drift import show_drift

    show_drift(config, names, as_json=as_json)


def _of_table(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the pipeline's row; what is not known says so."""
    row = {key: value for key, value in tree.items() if key not in {"partitions", "unknown"}}
    return _marked(row, ("clean", "quarantined", "lag")) if tree["unknown"] else row


def _of_partitions(tree: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [{"pipeline": tree["pipeline"], **row} for row in tree["partitions"]]
    return [_marked(row, row) for row in rows] if tree["unknown"] else rows


def _marked(row: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return row | {key: "unknown" for key in keys if row[key] is None}
