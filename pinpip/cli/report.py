"""`pinpip report`: the eight questions, answered over the clean tables."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.shared import settings_of
from pinpip.cli.tables import show

if TYPE_CHECKING:
    import polars as pl

    from core.config import Config
    from reports.run import Answer


def report(
    context: typer.Context,
    questions: Annotated[
        list[int] | None, typer.Argument(min=1, max=8, help="Numbers of questions; all by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Answer the eight questions over the clean tables of all pipelines.

    Example: pinpip report 1 3
    """
    found = answers(settings_of(context).config(), questions)
    if as_json:
        typer.echo(json.dumps([_tree(answer) for answer in found], default=str))
        return
    for answer in found:
        print_answer(answer)


def answers(config: "Config", questions: list[int] | None) -> "list[Answer]":
    """Answer the questions over every clean table that exists."""
    from reports.run import answers as answered

    return answered(_tables(config), questions)


def print_answer(answer: "Answer", most: int = 20) -> None:
    """Print the first rows of an answer as a table."""
    left = answer.frame.height - most
    more = f" (first {most} of {answer.frame.height})" if left > 0 else ""
    show(
        f"{answer.number}. {answer.title}{more}", answer.frame.head(most).to_dicts(), as_json=False
    )


def _tree(answer: "Answer") -> dict[str, Any]:
    return {"number": answer.number, "title": answer.title, "rows": answer.frame.to_dicts()}


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
