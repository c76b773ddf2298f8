"""notebooks/databricks.py is a Databricks notebook, and asks what `pinpip report` asks.

`make spark` runs it.
"""

import ast
import re
from typing import Any

import pytest

from reports.latest import ORDER
from reports.run import KEY, VIEWS, questions
from tests.support.notebooks import FOLDER

TEXT = (FOLDER / "databricks.py").read_text(encoding="utf-8")
MAGIC = "# MAGIC"
CELLS = [cell.strip("\n").splitlines() for cell in TEXT.split("\n# COMMAND ----------\n")]
CELLS[0] = CELLS[0][1:]  # the notebook's own first line


def literal(name: str) -> Any:
    """Return the value that the notebook gives to a name."""
    [value] = [
        node.value
        for node in ast.parse(TEXT).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    ]
    return ast.literal_eval(value)


def default(setting: str) -> str:
    """Return what a widget has at first."""
    [found] = re.findall(rf'setting\("{setting}", "([^"]*)"', TEXT)
    return str(found)


def test_it_begins_as_databricks_wants_it() -> None:
    assert TEXT.startswith("# Databricks notebook source\n# MAGIC %md\n")


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell[0])
def test_a_cell_is_all_text_or_all_code(cell: list[str]) -> None:
    magic = [line.startswith(MAGIC) for line in cell]
    assert all(magic) or not any(magic)
    if magic[0]:
        assert cell[0] == f"{MAGIC} %md"
    else:
        compile("\n".join(cell), "cell", "exec")


def test_it_runs_the_files_of_all_questions() -> None:
    [pattern] = re.findall(r'QUESTIONS\.glob\("(.+)"\)', TEXT)
    found = sorted((FOLDER / default("questions")).glob(pattern))
    assert [path.stem for path in found] == [question.name for question in questions()]


def test_its_current_views_are_those_of_the_report() -> None:
    assert literal("VIEWS") == {view: (kind, [*own]) for view, (kind, own) in VIEWS.items()}
    assert literal("ORDER") == ORDER


def test_what_it_makes_of_raw_records_has_the_columns_of_the_views() -> None:
    made = {
        record: {column.split()[0] for column in columns.split(", ")}
        for record, columns in literal("RECORDS").items()
    }
    assert made == {record: {KEY, *columns} for record, columns in VIEWS.values()}


def test_it_has_no_secret_and_no_place_of_ours() -> None:
    assert not re.search(r"secret_|password|access_key|AKIA|token", TEXT)
    assert default("place") == "s3://my-bucket/lake"
    assert default("output") == ""
