"""`pinpip table`: the rows of a table, or of each key the newest."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from pinpip.cli.output import note_guarded, refuse_address
from pinpip.cli.shared import settings_of
from pinpip.cli.signals import tidying
from pinpip.cli.tables import show
from pinpip.export.files import Files
from pinpip.export.formats import Format
from pinpip.runtime import tune_allocators

if TYPE_CHECKING:
    from pinpip.current import View

SHOWN = 20  # rows in a terminal


def table(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="A pipeline of config.yaml.")],
    latest: Annotated[
        bool, typer.Option("--latest", help="Of each key only the newest row: the current view.")
    ] = False,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="How to write the rows; default: as --out ends."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file; an existing one is replaced.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help=f"Rows, 0: all. Default: {SHOWN}; with a format or a file all."),
    ] = None,
) -> None:
    """Show the rows of a clean table, or write them as CSV, JSON, Markdown or Parquet.

    The newest row of a key has the latest _timestamp, then the highest coordinates. The key is the
    one that the pipeline's schema names. Rows come in the order of the table's files.
    Example: pinpip table pin --latest --out pins.parquet
    """
    form = _format(form, out)
    tune_allocators()
    files = Files()
    with tidying(files.discard):
        from pinpip.current import view_of

        most = (0 if form else SHOWN) if limit is None else limit
        view = view_of(settings_of(context).config(), pipeline, latest=latest, limit=most)
        if form is None:
            _show(pipeline, view)
        elif out is None:
            _write(form, view, sys.stdout.buffer)
        else:
            with files.new(out) as body:
                rows = _write(form, view, body)
            typer.echo(f"{rows:,} rows in {out}" + (", replaced" if files.replaced else ""))


def _format(form: Format | None, out: Path | None) -> Format | None:
    refuse_address(out)
    if out is not None and form is None:
        try:
            return Format(out.suffix.removeprefix(".").lower())
        except ValueError as error:
            raise typer.BadParameter(
                f"give a --format, or a name that ends in .{', .'.join(Format)}", param_hint="--out"
            ) from error
    if out is None and form is Format.PARQUET and sys.stdout.isatty():
        raise typer.BadParameter("parquet needs --out FILE", param_hint="--format")
    return form


def _show(name: str, view: "View") -> None:
    found = [row for batch in view.batches for row in batch.to_dicts()]
    what = f"{name}, of each {view.key} the newest row" if view.key else name
    less = f" (first {len(found):,} of {view.rows:,}; --limit 0 shows all)"
    title = what + (less if len(found) < view.rows else "")
    texts = [name for name, dtype in view.schema.items() if not dtype.is_numeric()]
    show(title, found, as_json=False, cut=texts)


def _write(form: Format, view: "View", out: BinaryIO) -> int:
    from pinpip.export.rows import write

    done = write(form, view.schema, view.batches, out)
    out.flush()
    note_guarded(done.guarded)
    return done.rows
