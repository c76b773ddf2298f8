"""`pinpip quarantine`: what was rejected, and why."""

from typing import Annotated

import typer

from pinpip.cli.shared import settings_of, show

commands = typer.Typer(help="Look at rejected records.", no_args_is_help=True)
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
    rows = (
        TableReader(table, tables.options)
        .rows()
        .select("_timestamp", *tables.coordinates.identity, "reason", "detail", value=value)
        .sort("_timestamp", descending=True)
        .head(limit)
        .collect()
    )
    text = [r | {"value": (r["value"] or b"").decode(errors="replace")} for r in rows.to_dicts()]
    show("Quarantine", text, as_json=as_json)
