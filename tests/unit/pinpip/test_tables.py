"""Tables of the command line: they fit the terminal, and lose nothing."""

import io
import json
from contextlib import redirect_stdout
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinpip.cli.tables import show

WORD = st.text("abcdefghij_/.", min_size=1, max_size=30)
TEXT = st.lists(WORD, max_size=12).map(" ".join)
CELL = st.one_of(WORD, TEXT, st.none(), st.booleans(), st.integers(0, 10**12))


def shown(width: int, *rows: dict[str, Any], **how: Any) -> str:
    """Return what a terminal of `width` columns shows."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.setenv("COLUMNS", str(width))
        show("A title", rows, as_json=False, **how)
    return out.getvalue()


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw rows of the same columns."""
    name = st.text("abc_", min_size=1, max_size=14)
    names = draw(st.lists(name, min_size=1, max_size=14, unique=True))
    row = st.fixed_dictionaries(dict.fromkeys(names, CELL))
    return draw(st.lists(row, min_size=1, max_size=4))


@given(rows=tables(), width=st.integers(64, 200))
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(
    rows: list[dict[str, Any]], width: int
) -> None:
    text = shown(width, *rows)
    assert max(map(len, text.splitlines())) <= width
    words = {word for row in rows for value in row.values() for word in str(value).split()}
    assert {w for w in words if not w.isdigit()} - {"None", "True", "False"} <= set(text.split())


def test_columns_without_room_come_in_a_second_table_with_the_identity() -> None:
    row = {"pipeline": "pin", "partition": "a.topic/0"} | {f"number_{n}": n for n in range(12)}
    lines = shown(80, row, row | {"pipeline": "geo"}, identity=2).splitlines()
    cells = [line.split() for line in lines if line.startswith(("pin ", "geo "))]
    assert [line[:2] for line in cells] == [["pin", "a.topic/0"], ["geo", "a.topic/0"]] * 2
    assert [cell for line in cells[::2] for cell in line[2:]] == list(map(str, range(12)))


def test_a_rare_column_is_shown_only_when_it_tells_something() -> None:
    quiet = {"name": "pin", "expired": 0, "gone": None, "again": False}
    rare = ("expired", "gone", "again")
    assert "expired" not in shown(80, quiet, quiet, rare=rare)
    assert "expired" in shown(80, quiet, quiet | {"expired": 1}, rare=rare)
    assert "gone" in shown(80, quiet, quiet | {"gone": "unknown"}, rare=rare)


def test_a_text_that_may_be_cut_ends_in_an_ellipsis_on_its_line() -> None:
    row = {"name": "pin", "detail": "some words\n" * 40}
    [line] = [line for line in shown(80, row, cut=("detail",)).splitlines() if "words" in line]
    assert line.endswith("…")
    assert len(line) == 80


def test_json_has_every_column_whole(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "pin", "expired": 0, "detail": "x" * 500}
    show("A title", [row], as_json=True, rare=("expired",), cut=("detail",))
    assert json.loads(capsys.readouterr().out) == [row]
