"""`pinpip quarantine`: what was rejected, and why."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.shared import settings_of, working
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from core.batch import Coordinates

commands = typer.Typer(help="Look at rejected records.", no_args_is_help=True)
_NUMBER_SHOWN = 12  # last digits of a stream's 56
_VALUE_SHOWN = 120


@commands.callback()
def _group() -> None:
    """Keep `list` a command of its own while it is the only one."""


@commands.command("list")
def list_(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="A pipeline of config.yaml.")],
    limit: Annotated[int, typer.Option(min=1, help="Newest rejects to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show the newest rejected records with reason and coordinates.

    Example: pinpip quarantine list pin
    """
    import polars as pl

    from pinpip.pipelines import tables_of
    from sinks.delta.scan import TableReader
    from sinks.delta.table import find_own

    tables = tables_of(settings_of(context).config(), pipeline)
    table = find_own(tables.quarantine, tables.options, tables.coordinates)
    if table is None:
        show("Quarantine", [], as_json=as_json)
        return
    value = pl.col("_value").bin.slice(0, _VALUE_SHOWN)
    newest = (
        TableReader(table, tables.options)
        .rows()
        .select("_timestamp", *tables.coordinates.identity, "reason", "detail", value=value)
        .sort("_timestamp", descending=True)
        .head(limit)
    )
    with working("Reading the quarantine", quiet=as_json):
        rows = newest.collect()
    text = [r | {"value": (r["value"] or b"").decode(errors="replace")} for r in rows.to_dicts()]
    if as_json:
        show("Quarantine", text, as_json=True)
        return
    shown = [_for_people(row, tables.coordinates) for row in text]
    show("Quarantine", shown, as_json=False, identity=2, cut=("detail", "value"))


def _for_people(row: dict[str, Any], names: "Coordinates") -> dict[str, Any]:
    """Return the row with its coordinates as one word and its time in whole seconds."""
    number = str(row[names.number])
    short = number if len(number) <= _NUMBER_SHOWN else f"…{number[-_NUMBER_SHOWN:]}"
    return {
        names.source: row[names.source],
        "record": f"{row[names.partition]}:{short}",
        "time": f"{row['_timestamp']:%Y-%m-%d %H:%M:%S}",
        **{name: row[name] for name in ("reason", "detail", "value")},
    }
