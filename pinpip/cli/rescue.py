"""`pinpip rescue`: values of `_rescued` into the columns that the table has by now."""

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.shared import progress_bar, settings_of
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from pinpip.rescue import Rescue


def rescue(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="A pipeline of config.yaml.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be changed, and change nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Fill columns that were added with the values that older rows have in _rescued.

    No source is read. Data files with such values are written again beside running consumers;
    positions stay. Values that the schema or the transform does not take stay where they are, and
    so do those of a column that depends on other fields of the record, which are gone. Run again,
    it goes on where it was; done, it changes nothing.
    Example: pinpip rescue pin --dry-run
    """
    from core.clock import SystemClock
    from pinpip.rescue import rescue as run

    config = settings_of(context).config()
    with progress_bar(quiet=as_json) as bar:
        task = bar.add_task(f"Reading {pipeline}", total=None)
        tell = partial(_advance, bar, task)
        done = run(config, pipeline, SystemClock(), dry_run=dry_run, tell=tell)
    if as_json:
        typer.echo(json.dumps(done.tree()))
        return
    show(f"{_about(done, dry_run=dry_run)}", _rows(done), as_json=False, cut=("samples", "left"))
    for path, why in done.unknown.items():
        typer.echo(f"unknown: {path}: {why}")


def _advance(bar: Any, task: Any, done: int, of: int) -> None:
    bar.update(task, completed=done, total=of)


def _about(done: "Rescue", *, dry_run: bool) -> str:
    what = "would change" if dry_run else f"changed in {done.commits:,} commits"
    return (
        f"{done.pipeline}: {done.rows:,} rows in {done.files:,} of {done.looked_at:,} files {what}"
    )


def _rows(done: "Rescue") -> list[dict[str, Any]]:
    return [
        {
            "field": name,
            "columns": ", ".join(sorted(own.columns)) or None,
            "converts": own.converts,
            "stays": own.stays,
            "samples": ", ".join(own.converted) or None,
            "left": ", ".join(own.left) or None,
        }
        for name, own in sorted(done.fields.items())
    ]
