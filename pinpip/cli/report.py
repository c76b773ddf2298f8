"""`pinpip report`: the nine questions, answered over the clean tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.clock import SystemClock
from pinpip.cli.output import note, note_guarded, print_json, refuse_address
from pinpip.cli.shared import settings_of, working
from pinpip.cli.signals import tidying
from pinpip.cli.tables import show
from pinpip.export.files import Files
from pinpip.export.formats import Format

if TYPE_CHECKING:
    from core.config import Config
    from reports.run import Answer

COVERAGE = 0  # the question that counts
SHOWN = 20  # rows of an answer in a terminal
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
            min=0,
            help=f"Rows of an answer, 0: all. Default: {SHOWN}; with a format all; in HTML 1,000.",
        ),
    ] = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="How to write the answers.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a file per question to this folder.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write one HTML file with charts, tables and facts.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Answer the nine questions over the clean tables of all pipelines.

    With --out or --html, a file that exists is replaced; other files of the folder stay.
    Example: pinpip report 1 3
    Example: pinpip report --html report.html
    """
    _check(form, out, html, as_json=as_json)
    files = Files()
    with tidying(files.discard):
        if html is not None:
            _write_html(settings_of(context).config(), questions, html, limit, files)
            return
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
    from pinpip.reporting import rows_by_kind, sources
    from reports.run import answers as answered

    return answered(rows_by_kind(sources(config)), questions)


def _write_html(
    config: "Config", questions: list[int] | None, path: Path, limit: int | None, files: Files
) -> None:
    """Write the page; the answers and what it says of the tables come from the same versions."""
    from pinpip.reporting import facts, rows_by_kind, sources
    from reports.page import render
    from reports.run import answers as answered

    with working("Answering", quiet=False):
        opened = sources(config)
        asked = {*questions, COVERAGE} if questions else None
        found = answered(rows_by_kind(opened), asked, partial=True)
        head = facts(config, opened, SystemClock.now())
        page = render(head, found, limit).encode()
        with files.new(path) as out:
            out.write(page)
    replaced = ", which was replaced" if files.replaced else ""
    typer.echo(f"{len(found) - 1} answers in {path}{replaced}, {len(page) / 1000:,.0f} kB")
    for kind in head.missing:
        note(f"there is no table of {kind} records: answers that need it have no rows")


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


def _check(form: Format | None, out: Path | None, html: Path | None, *, as_json: bool) -> None:
    if html is not None and (form or out or as_json):
        raise typer.BadParameter("leave out --format, --out and --json", param_hint="--html")
    if as_json and (form or out):
        raise typer.BadParameter("leave out --format and --out", param_hint="--json")
    if out is not None and form is None:
        raise typer.BadParameter("give a --format: csv, json, md or parquet", param_hint="--out")
    if out is None and form in _NEEDS_FOLDER:
        raise typer.BadParameter(f"{form} needs --out FOLDER", param_hint="--format")
    refuse_address(out)
    refuse_address(html, "--html")


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
