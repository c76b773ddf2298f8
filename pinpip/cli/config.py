"""`pinpip config`: what would run, the files to begin with, and keys for the gateway."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ByteSize

from core.errors import PinpipError
from pinpip.cli.output import clean
from pinpip.cli.shared import FAILED, complain, settings_of
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from core.config import Config
    from pinpip.checking import Checked
    from pinpip.next_start import NextStart
    from sinks.parquet.held import Pace

commands = typer.Typer(help="Look at the configuration, or begin one.", no_args_is_help=True)


@commands.callback()
def _group() -> None:
    """Take the options of every command, too."""


@commands.command()
def check(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """Run each pipeline's transform on synthetic records, and show its table's columns.

    Names everything that a consumer would refuse, exit code 1 then, and the columns that its next
    start adds to a table that exists. No broker is asked; a table that does not respond is noted.
    Example: pinpip config check
    """
    from pinpip import checking, configfile, next_start, sharing

    config = configfile.load(settings_of(context).config_path)
    checked = checking.check(config)
    columns = {name: found.columns for name, found in checked.items() if found.columns}
    starts = next_start.next_starts(config, columns)
    problems: list[tuple[str | None, PinpipError]] = [
        *((None, error) for error in checking.kafka_problems(config)),
        *((name, error) for name, found in checked.items() for error in found.problems),
        *((name, own.problem) for name, own in starts.items() if own.problem),
    ]
    notes = [*sharing.notes(config), *next_start.notes(starts)]
    if as_json:
        told = _tree(checked, starts, problems) | {"notes": notes}
        typer.echo(json.dumps(configfile.shown(config) | told))
    else:
        for name, found in checked.items():
            _show(config, name, found)
        for note in notes:
            typer.echo(f"note: {note}")
    for pipeline, error in problems:
        where = f"pipeline {pipeline}: " if pipeline else ""
        complain(PinpipError(f"{where}{error.message}", error.hint))
    if problems:
        raise typer.Exit(FAILED)


@commands.command()
def init(
    context: typer.Context,
    pipeline: Annotated[
        str | None,
        typer.Option(help="Begin this pipeline: its code, a test of it and sample records, too."),
    ] = None,
) -> None:
    """Write a commented config.yaml, or add a pipeline to the one that is there.

    Nothing is overwritten. Example: pinpip config init --pipeline boards
    """
    from pinpip.scaffold import initialise

    path = settings_of(context).config_path
    for written in initialise(path, pipeline):
        typer.echo(f"written: {written}")


@commands.command()
def schema() -> None:
    """Print the JSON schema of config.yaml, by which editors complete and check it.

    The first line of config.yaml names it: put it beside that file as config.schema.json.
    Example: pinpip config schema > config.schema.json
    """
    from pinpip.configfile import schema as generated

    typer.echo(generated.text(), nl=False)


@commands.command("api-key")
def api_key(
    name: Annotated[str, typer.Argument(help="Who will hold the key: it appears in the log.")],
) -> None:
    """Make a key for the gateway or the status page: hand it out, its hash is for config.yaml.

    Example: pinpip config api-key phone-app
    """
    from core.web import new_key

    key, digest = new_key()
    line = f"api_keys: {{{json.dumps(name)}: {digest}}}"
    typer.echo(f"key, shown only now: {key}")
    typer.echo(f"in the section gateway or monitor of config.yaml: {line}")


def _show(config: "Config", name: str, found: "Checked") -> None:
    """Print what the pipeline reads and writes, and its table's columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    about = _about(config, name)
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in found.outcomes.items())
    lines = about | ({"synthetic records": outcomes} if outcomes else {})
    lines |= {f"  {reason}": said for reason, said in found.details.items()}
    facts = Table.grid(padding=(0, 2))
    for what, said in lines.items():
        facts.add_row(Text(f"  {what}"), Text(clean(said)))
    Console().print(Text(name, style="bold"), facts, sep="\n")
    if found.columns:
        rows = [{"column": c, "type": delta} for c, (_, delta) in _types(found).items()]
        show(f"Columns of {name}, and their types in Delta", rows, as_json=False)


def _about(config: "Config", name: str) -> dict[str, str]:
    from pinpip.connectors import connector_of
    from pinpip.pipelines import pace_of, tables_of

    pipeline = config.pipeline(name)
    paces = [(a, _said(pace_of(config, pipeline, a))) for a in pipeline.archives]
    stages = ", ".join(f"{a.parquet} ({a.stage}, {pace})" for a, pace in paces)
    about = {
        "reads": connector_of(config, name).described,
        "schema": _short(pipeline.schema_),
        "transform": _short(pipeline.transform),
        "table": tables_of(config, name).clean,
    }
    about |= {"archives": stages} if stages else {}
    return about | ({"latest": _latest(config, name)} if pipeline.is_upsert else {})


def _latest(config: "Config", name: str) -> str:
    from core.pipeline import latest_of
    from pinpip.latest import view_of
    from pinpip.pipelines import tables_of

    view = view_of(config.pipeline(name))
    return f"{latest_of(tables_of(config, name).clean)}, by {view.key}, the last by {view.order}"


def _said(pace: "Pace") -> str:
    if not pace.seconds:
        return "objects with each batch"
    return f"objects every {pace.seconds:g} s or {ByteSize(pace.most).human_readable()}"


def _short(reference: str) -> str:
    """Return a reference to code, its file relative to the current folder if it is below."""
    return reference.removeprefix(f"{Path.cwd()}/")


def _types(found: "Checked") -> dict[str, tuple[str, str]]:
    """Return the type of each column in polars and in Delta."""
    from sinks.delta.type_names import type_names

    delta = type_names(found.columns)
    return {name: (str(dtype), delta[name]) for name, dtype in found.columns.items()}


def _next(own: "NextStart | None") -> dict[str, Any] | None:
    """Return what the next start adds to the table; None: the transform makes no columns."""
    if own is None:
        return None
    adds = [{"name": name, "delta": delta} for name, delta in own.adds.items()]
    return {"table": own.table, "adds": adds, "unknown": own.unknown or None}


def _tree(
    checked: "dict[str, Checked]",
    starts: "dict[str, NextStart]",
    problems: "list[tuple[str | None, PinpipError]]",
) -> dict[str, Any]:
    tables = {
        name: {
            "columns": [
                {"name": column, "type": dtype, "delta": delta}
                for column, (dtype, delta) in _types(found).items()
            ],
            "synthetic_records": found.outcomes,
            "details": found.details,
            "next_start": _next(starts.get(name)),
        }
        for name, found in checked.items()
    }
    said = [{"pipeline": n, "problem": e.message, "next": e.hint} for n, e in problems]
    return {"tables": tables, "problems": said}
