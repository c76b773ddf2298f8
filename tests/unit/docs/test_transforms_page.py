"""Every snippet and every example of docs/transforms.md is run."""

import json
import re
from typing import Any

import polars as pl
import pytest

from tests.support.places import ROOT
from transforms.schema import Schema
from transforms.trial import try_rows

PAGE = (ROOT / "docs/transforms.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TYPES = re.findall(r"^\| `(pl\..*?)` \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)


def test_the_snippets_run_one_after_another() -> None:
    assert len(SNIPPETS) == 3
    names: dict[str, Any] = {"__name__": "boards"}
    for snippet in SNIPPETS:
        exec(snippet, names)  # noqa: S102  # our own page


def outcome(dtype: pl.DataType, token: str) -> tuple[Any, Any]:
    """Return the value of a field with this JSON, and what is rescued."""
    schema = Schema("any", "id", {"id": pl.Int64(), "other": pl.Int64(), "field": dtype})
    line = f'{{"id": 1, "other": 2, "field": {token}}}'
    [row] = try_rows(schema, lambda rows: rows, [line.encode()]).clean.to_dicts()
    return row["field"], row["_rescued"]


@pytest.mark.parametrize(("dtype", "taken", "refused"), TYPES, ids=[t[0] for t in TYPES])
def test_the_examples_of_a_type_are_taken_and_refused(dtype: str, taken: str, refused: str) -> None:
    own = eval(dtype, {"pl": pl})  # noqa: S307  # our own page
    for token in re.findall("`(.+?)`", taken):
        value, rescued = outcome(own, token)
        assert (value is None, rescued) == (False, None), token
    for token in re.findall("`(.+?)`", refused):
        value, rescued = outcome(own, token)
        assert (value, json.loads(rescued).keys()) == (None, {"field"}), token


def test_every_type_has_its_examples() -> None:
    assert len(TYPES) == 10
