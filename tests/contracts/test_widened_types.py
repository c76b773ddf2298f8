"""A declaration with a wider type than the table's: what `config check` and consumers say."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.errors import SinkError
from pinpip.cli import app
from tests.support.board_lake import OLD, BoardLake, Member, write

ONE = {"id": 1, "title": "7"}
WIDER = [
    ("pl.Float32", "pl.Float64", "n: float, not double"),
    ("pl.Int8", "pl.Int32", "n: byte, not integer"),
    ("pl.Int8", "pl.Int64", "n: byte, not long"),
    ("pl.Int16", "pl.Int64", "n: short, not long"),
    ("pl.Int32", "pl.Float64", "n: integer, not double"),
    ("pl.Int64", "pl.Float64", "n: long, not double"),
    ("pl.Int32", "pl.Decimal(12, 0)", "n: integer, not decimal(12,0)"),
    ("pl.Decimal(10, 2)", "pl.Decimal(12, 2)", "n: decimal(10,2), not decimal(12,2)"),
    ("pl.Decimal(10, 2)", "pl.Decimal(12, 4)", "n: decimal(10,2), not decimal(12,4)"),
    ("pl.Date", "pl.Datetime('us', 'UTC')", "n: date, not timestamp"),
    ("pl.List(pl.Int32)", "pl.List(pl.Int64)", "n: "),
    ("pl.Struct({'w': pl.Float32})", "pl.Struct({'w': pl.Float64})", "n: "),
]
KEPT = [("pl.Int8", "pl.Int16"), ("pl.Int16", "pl.Int32"), ("pl.Int32", "pl.Int64")]


@pytest.fixture
def lake(tmp_path: Path) -> BoardLake:
    """Return a lake without tables."""
    return BoardLake(tmp_path, str(tmp_path / "lake"))


def makes(dtype: str, value: str = "None") -> str:
    """Return the body of a transform with a column of this type."""
    return f"rows.with_columns(n=pl.lit({value}, {dtype}))"


def checked(lake: BoardLake, body: str) -> tuple[int, list[str], str]:
    """Return exit code, notes and errors of `pinpip config check`."""
    words = ["-c", str(lake.path(OLD, body)), "config", "check", "--json"]
    done = CliRunner().invoke(app, words)
    return done.exit_code, json.loads(done.stdout)["notes"], done.stderr.replace("\n", "")


@pytest.mark.parametrize(("narrow", "wide", "said"), WIDER)
def test_a_wider_type_is_one_error_before_anything_is_written_and_names_the_way_over(
    lake: BoardLake, narrow: str, wide: str, said: str
) -> None:
    write(lake.config(body=makes(narrow)), ONE)
    before = lake.table().version()
    with pytest.raises(SinkError) as refused:
        Member(lake.config(body=makes(wide)))
    code, _, errors = checked(lake, makes(wide))
    assert said in refused.value.message
    assert "pinpip replay PIPELINE --into NAME" in refused.value.hint
    assert code == 1
    assert refused.value.message in errors
    assert lake.table().version() == before


@pytest.mark.parametrize(("narrow", "wide"), KEPT)
def test_the_next_wider_integer_keeps_the_table_s_type_and_config_check_says_so_first(
    lake: BoardLake, narrow: str, wide: str
) -> None:
    write(lake.config(body=makes(narrow, "1")), ONE)
    code, notes, _ = checked(lake, makes(wide, "2"))
    assert code == 0
    [note] = notes
    assert "keeps narrower types" in note
    assert "n (" in note
    assert "pinpip replay boards --into NAME" in note
    held = lake.rows().schema["n"]
    write(lake.config(body=makes(wide, "2")), ONE)
    assert (lake.rows()["n"].to_list(), lake.rows().schema["n"]) == ([1, 2], held)
    assert checked(lake, makes(narrow, "1"))[:2] == (0, [])


def test_a_number_beyond_the_narrower_type_is_refused_before_it_is_written(
    lake: BoardLake,
) -> None:
    write(lake.config(body=makes("pl.Int32", "1")), ONE)
    member = Member(lake.config(body=makes("pl.Int64", "2**31")))
    before = lake.table().version()
    with pytest.raises(SinkError, match="was made for smaller numbers"):
        member.write(ONE)
    assert lake.table().version() == before
    assert lake.rows()["n"].to_list() == [1]
