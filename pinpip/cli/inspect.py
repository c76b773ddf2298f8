"""`pinpip inspect`: which commit and file hold a record, and what was committed when."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.output import print_json
from pinpip.cli.shared import TIMES, refuse_reversed, settings_of, utc, working
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from core.config import Config


def inspect(
    context: typer.Context,
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines of config.yaml; all when none is named.")
    ] = None,
    offset: Annotated[
        str | None,
        typer.Option(help="Where a record is: PARTITION:OFFSET or SHARD:SEQUENCE."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, metavar="TIME", help="Commits from then on (UTC)."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, metavar="TIME", help="Commits before then (UTC)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show the newest commits, those of a time range, or where a record is.

    It reads the tables alone and proves nothing: that is what verify does.
    Example: pinpip inspect pin --offset 2:1500
    """
    from pinpip.inspection import commits_of

    config = settings_of(context).config()
    names = pipelines or list(config.pipelines)
    if offset is None:
        times = utc(since), utc(until)
        refuse_reversed(*times, ("--since", "--until"))
        with working("Reading the log", quiet=as_json):
            rows = [row for name in names for row in commits_of(config, name, *times)]
        shown = rows if as_json else list(map(_shortened, rows))
        show("Commits", shown, as_json=as_json, identity=2, cut=("ranges",))
        if not rows and not as_json:
            typer.echo(f"no commit of {', '.join(names)}{' in that time' if any(times) else ''}")
    elif len(names) == 1:
        with working(f"Looking for {offset}", quiet=as_json):
            found = _found(config, names[0], offset)
        _show_record(found, as_json=as_json)
    else:
        raise typer.BadParameter("name the one pipeline whose source it is", param_hint="--offset")


def _found(config: "Config", name: str, offset: str) -> dict[str, Any]:
    from pinpip.inspection import where_is

    try:
        return where_is(config, name, offset)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--offset") from error


def _show_record(tree: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(tree, _plain)
        return
    if not tree["unknown"]:
        del tree["unknown"]
    for place in tree.pop("places"):
        row = place.pop("row")
        tree |= place | {f"  {name}": value for name, value in row.items()}
    show("Record", [{"what": k, "is": v} for k, v in tree.items()], as_json=False)


def _shortened(row: dict[str, Any]) -> dict[str, Any]:
    """Shorten the row for a person: short names, whole seconds, ranges in words."""
    ranges = [f"{r['partition']} {r['start'] or 'start'}-{r['end']}" for r in row["ranges"]]
    return {
        "table": row["table"].rpartition("/")[2],
        "version": row["version"],
        "committed_at": f"{row['committed_at']:%Y-%m-%d %H:%M:%S}",
        "read": row["read"],
        "clean": row["clean"],
        "quarantined": row["quarantined"],
        "ranges": ", ".join(ranges),
    }


def _plain(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
