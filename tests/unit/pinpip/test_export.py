"""Rows as files: what comes back is what was there, and a file is whole or not there."""

import csv
import io
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from polars.testing import assert_frame_equal

from core.errors import ConfigError, FatalError
from pinpip.export.files import Files
from pinpip.export.formats import Format
from pinpip.export.markdown import escaped
from pinpip.export.rows import Written, write

ROWS = pl.DataFrame(
    {
        "ind": [1, 2, None],
        "name": ['a "quoted", name\nof two lines', "", None],
        "place": [[1.5, -2.0], [], None],
        "inner": [{"raw": b"\xff", "n": 1}, {"raw": None, "n": None}, None],
        "raw": [b"\x00\xff", b"", None],
        "at": [datetime(2018, 3, 26, 16, 56, 17, 5, tzinfo=UTC), None, None],
    },
    schema_overrides={"at": pl.Datetime("us", "UTC")},
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def written(form: Format, *batches: pl.DataFrame) -> tuple[bytes, Written]:
    out = io.BytesIO()
    done = write(form, batches[0].schema, batches, out)
    return out.getvalue(), done


def test_parquet_has_the_rows_unchanged() -> None:
    body, done = written(Format.PARQUET, ROWS[:1], ROWS[1:])
    assert_frame_equal(pl.read_parquet(io.BytesIO(body)), ROWS)
    assert done == Written(3, 0)


def test_json_is_one_array_with_bytes_as_base64_and_a_line_for_each_row() -> None:
    body, _ = written(Format.JSON, ROWS[:1], ROWS[1:])
    assert json.loads(body) == [
        {
            "ind": 1,
            "name": 'a "quoted", name\nof two lines',
            "place": [1.5, -2.0],
            "inner": {"raw": "/w==", "n": 1},
            "raw": "AP8=",
            "at": "2018-03-26T16:56:17.000005+00:00",
        },
        {
            "ind": 2,
            "name": "",
            "place": [],
            "inner": {"raw": None, "n": None},
            "raw": "",
            "at": None,
        },
        dict.fromkeys(ROWS.columns),
    ]
    assert len(body.splitlines()) == 3 + 2


def test_csv_has_nested_values_as_json_and_tells_null_from_empty_text() -> None:
    body, _ = written(Format.CSV, ROWS[:1], ROWS[1:])
    rows = list(csv.reader(io.StringIO(body.decode(), newline="")))
    assert rows == [
        ROWS.columns,
        [
            "1",
            'a "quoted", name\nof two lines',
            "[1.5,-2.0]",
            '{"raw":"/w==","n":1}',
            "AP8=",
            "2018-03-26T16:56:17.000005+00:00",
        ],
        ["2", "", "[]", '{"raw":null,"n":null}', "", ""],
        [""] * 6,
    ]
    assert pl.read_csv(body)["name"].to_list()[1:] == ["", None]


@pytest.mark.parametrize("form", Format)
def test_without_rows_there_is_still_a_file_that_can_be_read(form: Format) -> None:
    body, done = written(form, ROWS[:0])
    assert done.rows == 0
    heads = {Format.JSON: b"[]\n", Format.CSV: b"ind,name,place,inner,raw,at\n"}
    assert body == heads.get(form, body)
    if form is Format.PARQUET:
        assert_frame_equal(pl.read_parquet(io.BytesIO(body)), ROWS[:0])


@given(st.lists(st.none() | texts, min_size=1, max_size=5))
def test_csv_gives_every_text_back(names: list[str | None]) -> None:
    body, done = written(Format.CSV, pl.DataFrame({"n": range(len(names)), "name": names}))
    rows = list(csv.reader(io.StringIO(body.decode(), newline="")))[1:]
    told = [text.removeprefix("'") for _, text in rows]
    assert told == [(name or "").removeprefix("'") for name in names]
    changed = [text for (_, text), name in zip(rows, names, strict=True) if text != (name or "")]
    assert len(changed) == done.guarded


@pytest.mark.parametrize(
    "name", ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1"]
)
def test_a_spreadsheet_takes_no_text_of_csv_for_a_formula(name: str) -> None:
    body, done = written(Format.CSV, pl.DataFrame({"name": [name]}))
    assert body.decode().removeprefix("name\n").lstrip('"').startswith("'")
    assert done.guarded == 1


def test_csv_leaves_numbers_and_other_texts_alone() -> None:
    frame = pl.DataFrame({"n": [-1.5], "text": ["-1.5"], "plus": ["+49,3"], "name": ["a=b"]})
    body, done = written(Format.CSV, frame)
    assert body == b'n,text,plus,name\n-1.5,-1.5,"+49,3",a=b\n'
    assert done.guarded == 0


printable = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=14)


@given(printable)
def test_a_reader_of_markdown_shows_the_text_of_a_cell(text: str) -> None:
    table = f"| name |\n| --- |\n| {escaped(text)} |\n"
    tokens = MarkdownIt("commonmark").enable("table").parse(table)
    [_, cell] = [token for token in tokens if token.type == "inline"]
    shown = "".join(child.content for child in cell.children or [])
    assert shown.strip() == text.strip()


def test_a_line_break_in_a_cell_of_markdown_does_not_end_the_row() -> None:
    assert escaped("two\r\nlines\x00|") == "two<br>lines \\|"


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    files = Files()
    with suppress(ZeroDivisionError), files.new(tmp_path / "a.csv") as out:
        out.write(b"half")
        out.flush()
        assert len(list(tmp_path.iterdir())) == 1
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path, files = tmp_path / "a.csv", Files()
    path.write_bytes(b"old")
    with files.new(path) as out:
        out.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert files.replaced == [path]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(ConfigError, match="is not a file"), Files().new(tmp_path / "a.csv"):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="absent"), Files().new(tmp_path / "absent" / "a.csv"):
        pass
