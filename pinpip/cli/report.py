"""`pinpip report`: the nine questions, answered over the clean tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.output import note_guarded, print_json, refuse_address
from pinpip.cli.shared import settings_of, working
from pinpip.cli.signals import tidying
from pinpip.cli.tables import show
from pinpip.export.files import Files
from pinpip.export.formats import Format

if TYPE_CHECKING:
    import polars as pl

    from core.config import Config
    from reports.run import Answer

SHOWN = 20  # rows of an answer in a terminal
COVERAGE = 0  # the question that counts
_NEEDS_FOLDER = (Format.CSV, Format.PARQUET)


def report(
    context: typer.Context,
    questions: Annotated[
        list[int] | None,
        typer.Argument(min=0, max=9, help="Numbers of questions, 0 is the coverage; default: all."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0, help=f"Rows of an answer, 0: all. Default: {SHOWN}; with a format all."
        ),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="How to write the answers.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a file per question to this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Answer the nine questions over the clean tables of all pipelines.

    With --out, a file that exists is replaced; other files of the folder stay.
    Example: pinpip report 1 3
    """
    _check(form, out, as_json=as_json)
    files = Files()
    with tidying(files.discard):
        tables = form is None and not as_json
        beside = {COVERAGE} if tables else set()
        asked = {*questions, *beside} if questions else None
        config = settings_of(context).config()
        with working("Answering", quiet=not tables):
            found = answers(config, asked)
        cut = [_cut(answer, limit) for answer in found]
        if tables:
            print_first(found, SHOWN if limit is None else limit, "; --limit 0 shows all")
        elif out is not None and form is not None:
            _write(cut, form, out, files)
        elif form is Format.MD:
            _print_markdown(cut)
        else:
            print_json(list(map(_tree, cut)))


def answers(config: "Config", questions: set[int] | None) -> "list[Answer]":
    """Answer the questions over every clean table that exists."""
    from reports.run import answers as answered

    return answered(_tables(config), questions)


def print_first(found: "list[Answer]", limit: int, hint: str = "") -> None:
    """Print the first rows of each answer, all when `limit` is 0, with its definitions.

    `hint`: how to get the other rows.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for answer in found:
        if answer.question.number == COVERAGE:
            console.print(coverage(answer), style="bold")
        else:
            _print_table(_cut(answer, limit), answer.frame.height, hint)
        console.print(Text(f"{answer.question.definitions}\n"), style="dim")


def _print_table(answer: "Answer", rows: int, hint: str) -> None:
    question, height = answer.question, answer.frame.height
    more = f" (first {height:,} of {rows:,}{hint})" if height < rows else ""
    title = f"{question.label}. {question.title}{more}"
    texts = [name for name, dtype in answer.frame.schema.items() if not dtype.is_numeric()]
    show(title, answer.frame.to_dicts(), as_json=False, cut=texts)


def coverage(answer: "Answer") -> str:
    """Return the coverage as one line."""
    pins, geo, user, outside = answer.frame.row(0)
    return f"{pins:,} pins, {geo:,} with a geo, {user:,} with a user, {outside:,} outside 2018-2022"


def _check(form: Format | None, out: Path | None, *, as_json: bool) -> None:
    if as_json and (form or out):
        raise typer.BadParameter("leave out --format and --out", param_hint="--json")
    if out is not None and form is None:
        raise typer.BadParameter("give a --format: csv, json, md or parquet", param_hint="--out")
    if out is None and form in _NEEDS_FOLDER:
        raise typer.BadParameter(f"{form} needs --out FOLDER", param_hint="--format")
    refuse_address(out)


def _print_markdown(found: "list[Answer]") -> None:
    from pinpip.export.answers import as_markdown

    for answer in found:
        typer.echo(as_markdown(answer), nl=False)


def _write(found: "list[Answer]", form: Format, folder: Path, files: Files) -> None:
    from pinpip.export.answers import write_answers

    done = write_answers(found, form, folder, files)
    typer.echo(f"{len(found)} files in {folder}, {len(files.replaced)} of them replaced")
    note_guarded(done.guarded)


def _cut(answer: "Answer", limit: int | None) -> "Answer":
    from dataclasses import replace

    return replace(answer, frame=answer.frame.head(limit)) if limit else answer


def _tree(answer: "Answer") -> dict[str, Any]:
    question = answer.question
    return {
        "number": question.number,
        "label": question.label,
        "title": question.title,
        "definitions": question.definitions,
        "rows": answer.frame.to_dicts(),
    }


def _tables(config: "Config") -> "dict[str, list[pl.LazyFrame]]":
    """Return the clean tables by record type, which the pipeline's schema names."""
    from pinpip.pipelines import tables_of
    from sinks.delta.scan import TableReader
    from sinks.delta.table import find_own
    from transforms.load import load_schema

    found: dict[str, list[pl.LazyFrame]] = {}
    for name, pipeline in config.pipelines.items():
        tables = tables_of(config, name)
        table = find_own(tables.clean, tables.options, tables.coordinates)
        if table is not None:
            rows = TableReader(table, tables.options).rows()
            found.setdefault(load_schema(pipeline.schema_).name, []).append(rows)
    return found
