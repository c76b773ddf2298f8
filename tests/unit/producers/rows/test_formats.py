"""Rows of JSON, CSV and Parquet files: exact, or refused with file, row and column."""

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from producers.emulator import event
from producers.event import Event
from producers.rows import json_text
from producers.rows.events import from_inputs
from producers.rows.inputs import InputError
from producers.rows.places import inputs_at
from tests.support.records import BOARD, boards_of, events_of

GEO = [event(1, key).rows["geo"] for key in (4, 2, 4)]
PIN = [event(1, key).rows["pin"] for key in range(30)]
LISTS = {depth: "[" * depth + "]" * depth for depth in (100, 9000)}
BOARDS: list[dict[str, Any]] = [
    {"board": 1, "name": 'Oslo\n"b", é', "score": 0.5, "pins": 107},
    {"board": 2, "name": "x", "score": None, "pins": None},
]


def written(path: Path, content: str | bytes) -> Path:
    """Write a file, with gzip where its name says so."""
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix.lower() == ".gz" else data)
    return path


def as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0])
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(rows).write_parquet(file)
    return file.getvalue()


def as_lines(rows: list[dict[str, Any]]) -> str:
    return "\n\n".join(map(json.dumps, rows))


WRITERS: dict[str, Callable[[list[dict[str, Any]]], str | bytes]] = {
    "rows.ndjson": as_lines,
    "rows.jsonl.gz": as_lines,
    "lines.json": as_lines,
    "array.json": json.dumps,
    "indented.JSON.GZ": lambda rows: "\ufeff" + json.dumps(rows, indent=1),
    "rows.csv": as_csv,
    "bom.csv.gz": lambda rows: "\ufeff" + as_csv(rows),
    "rows.parquet": as_parquet,
    "rows.parquet.gz": as_parquet,
    "without ending": as_lines,
    "other.txt": as_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows_in_order(tmp_path: Path, name: str) -> None:
    assert boards_of(written(tmp_path / name, WRITERS[name](BOARDS))) == BOARDS


def test_a_file_without_rows_is_noted(tmp_path: Path) -> None:
    for name, content in (("rows.csv", "board,name\n"), ("rows.json", "[]"), ("x.ndjson", "\n")):
        notes: list[str] = []
        path = written(tmp_path / name, content)
        assert boards_of(path, notes=notes) == []
        assert notes == [f"{path}: no rows"]


def test_rows_are_recognised_by_their_fields_and_keep_what_no_schema_knows(tmp_path: Path) -> None:
    user = event(1, 1).rows["user"] | {"age": "25", "more": [1]}
    notes: list[str] = []
    path = written(tmp_path / "rows.ndjson", as_lines([user, GEO[0], user]))
    made = events_of(path, notes=notes)
    assert made == [Event(1, {"user": user}), Event(4, {"geo": GEO[0]}), Event(1, {"user": user})]
    assert notes == [f'{path}: not in the schema, so kept in _rescued: "more"']


def test_a_csv_file_keeps_every_text_hazard(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [row | {"downloaded": "1", "title": row["title"] + ' "\n,'} for row in PIN]
    pl.DataFrame(rows).write_csv(path)
    assert [made.rows["pin"] for made in events_of(path)] == rows


def test_an_index_column_of_pandas_is_left_out_with_a_note(tmp_path: Path) -> None:
    for header in (",board,name", "Unnamed: 0,board,name"):
        notes: list[str] = []
        path = written(tmp_path / "rows.csv", f"{header}\n0,107.0,a\n1,,\n")
        with pytest.raises(InputError, match=r"row 2 \(line 3\), .* the key is missing"):
            boards_of(path, notes=notes)
        path = written(path, f"{header}\n0,107.0,a\n")
        assert boards_of(path, notes=notes) == [{"board": 107, "name": "a"}]
        assert "index of pandas" in notes[0]


def test_a_parquet_index_of_pandas_is_left_out_and_its_floats_are_integers(tmp_path: Path) -> None:
    path, notes = tmp_path / "rows.parquet", list[str]()
    columns = {"board": [107.0, 4.0], "name": ["a", None], "pins": [None, 3.0]}
    parquet.write_table(pa.table(columns | {"__index_level_0__": [5, 6]}), path)
    assert boards_of(path, notes=notes) == [
        {"board": 107, "name": "a", "pins": None},
        {"board": 4, "name": None, "pins": 3},
    ]
    assert "index of pandas" in notes[0]


def test_parquet_types_go_exact(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    moment = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    nanos = pa.array([1_577_934_245_000_000_001], pa.timestamp("ns"))
    table = pa.table(
        {
            "ind": pa.array([Decimal("7.00")], pa.decimal128(20, 2)),
            "timestamp": pa.array([moment], pa.timestamp("us", "UTC")),
            "latitude": pa.array([float("nan")]),
            "country": pa.array(["Peru"]).dictionary_encode(),
            "nanos": nanos,
            "clock": pa.array([1], pa.time64("ns")),
            "big": pa.array([2**63], pa.uint64()),
        }
    )
    parquet.write_table(table, path)
    [made] = events_of(path)
    assert made.rows["geo"] == {
        "ind": 7,
        "timestamp": "2020-01-02T03:04:05+00:00",
        "latitude": None,
        "country": "Peru",
        "nanos": "2020-01-02T03:04:05.000000001",
        "clock": "00:00:00.000000001",
        "big": 2**63,
    }


def test_quoted_newlines_count_as_lines_and_not_as_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", 'board,name\r\n1,"a\r\nb"\r\n4.7,c\r\n')
    with pytest.raises(InputError, match=r"row 2 \(line 4\), column 'board': \"4.7\""):
        boards_of(path)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("rows.ndjson", '{"ind": 1, "country": "Peru"}\nnope', "after 1 rows: line 2: not JSON"),
        ("rows.ndjson", '{"ind": null, "country": "Peru"}', r"row 1 \(line 1\), column 'ind'"),
        ("rows.ndjson", '{"ind": 4.7, "country": "Peru"}', "column 'ind': 4.7 is not a whole"),
        ("rows.ndjson", '{"ind": 1, "ind": 2, "country": "a"}', "line 1: the key 'ind' is there"),
        ("rows.ndjson", '{"ind": 1, "country": null}', "nothing but its key"),
        ("rows.ndjson", '{"ind": 1, "country": [1]}', r"column 'country': \[1\] is not text"),
        ("rows.ndjson", '{"ind": 1, "latitude": Infinity}', "column 'latitude': inf"),
        ("rows.ndjson", '{"ind": 1, "country": "\\ud800"}', "column 'country': half"),
        ("rows.ndjson", b'{"ind": 1, "country": "\xe9"}', "line 1: byte 0xe9 is not UTF-8"),
        ("rows.ndjson", '{"ind": 1, "country": "a", "\\udc00": 1}', "column .*: half of a"),
        (
            "rows.ndjson",
            f'{{"ind": 1, "country": "a", "b": {"[" * 100}{"]" * 100}}}',
            "nested deeper",
        ),
        ("rows.ndjson", f'{{"ind": 1, "b": {"[" * 9000}{"]" * 9000}}}', "after 0 rows: "),
        ("rows.ndjson", f'\n{{"ind": {"1" * 5000}}}', "after 0 rows: line 2: "),
        ("rows.json", '[{"ind": 1, "country": "Peru"}', "after 1 rows: line 1: the array"),
        ("rows.json", '[{"ind": 1, "country": "a"} {}]', "after 1 rows: line 1: the array"),
        ("rows.json", '[{"ind": 1, "country": "a"}]\n[]', "after 1 rows: line 2: more text"),
        ("rows.json", '{"ind": {"0": 4}, "country": {"0": "Peru"}}', "column 'ind'"),
        ("rows.ndjson", "1", "row 1 .*not an object"),
        ("rows.ndjson", '{"id": 1, "size": 2}', "no pin or geo or user has them"),
        ("rows.csv", "ind,country\nx,Peru\n", r"row 1 \(line 2\), column 'ind': \"x\" is not"),
        ("rows.csv", "ind;country\n1;Peru\n", "after 0 rows: .*semicolons"),
        ("rows.csv", b"ind,country\n1,Per\xfa\n", "after 0 rows: line 2: byte 0xfa is not UTF-8"),
        ("rows.csv", "ind,country\n1,Peru,3\n", "line 2: 3 cells where the header has 2"),
        ("rows.csv", 'ind,country\n1,"Peru\n', "after 0 rows: line 2"),
        ("rows.csv", "ind,country,ind\n1,Peru,2\n", "the column 'ind' more than once"),
        ("rows.csv", "ind,,country\n1,2,Peru\n", "column 2 of the header has no name"),
        ("rows.csv", "id,country\n1,Peru\n", "no pin or geo or user has them"),
        ("rows.csv.gz", b"\x1f\x8bno gzip", "after 0 rows"),
        ("rows.parquet", "not parquet", "after 0 rows"),
        ("rows.txt", "", "with an ending of .json"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, content: str | bytes, complaint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=complaint) as raised:
        events_of(path)
    assert raised.value.message.startswith(str(path))
    assert "\n" not in raised.value.message
    assert raised.value.hint


def test_a_header_without_the_key_of_the_pipeline_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.csv", "id,name\n1,a\n")
    with pytest.raises(InputError, match="the key 'board' is not among them"):
        events_of(path, BOARD)


def test_the_rows_before_a_bad_one_are_given(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.ndjson", as_lines([*BOARDS, {"board": 4.7, "name": "a"}]))
    seen: list[object] = []
    with pytest.raises(InputError, match=r"row 3 \(line 5\)"):
        seen.extend(boards_of(path))


JSON_VALUES = st.dictionaries(
    st.text(max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


@given(
    st.lists(JSON_VALUES, max_size=6),
    st.sampled_from(["array", "lines"]),
    st.integers(1, 40),
    st.sampled_from(["escaped", "plain"]),
)
def test_a_json_text_gives_its_rows_however_it_is_cut(
    rows: list[dict[str, Any]], form: str, size: int, spelling: str
) -> None:
    encode = json.JSONEncoder(ensure_ascii=spelling == "escaped").encode
    whole = encode(rows) if form == "array" else "\n".join(map(encode, rows))
    raw = whole.encode()

    class Drops(io.BytesIO):
        def read1(self, _: int | None = -1) -> bytes:
            return super().read1(size)

    made = [row for _, row in json_text.rows(Drops(raw))]  # type: ignore[arg-type]
    assert made == rows


def test_nanoseconds_inside_lists_are_refused_and_microseconds_are_not(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    for nanos, complaint in ((1_000, None), (1, "'at' has nanoseconds inside lists")):
        times = pa.array([[nanos]], pa.list_(pa.timestamp("ns")))
        parquet.write_table(pa.table({"board": [1], "pins": [2], "at": times}), path)
        if complaint is None:
            assert boards_of(path)[0]["at"] == ["1970-01-01T00:00:00.000001"]
        else:
            with pytest.raises(InputError, match=complaint):
                boards_of(path)


@pytest.mark.parametrize("name", ["rows.ndjson", "array.json", "bom.csv.gz"])
def test_a_text_is_never_in_memory_as_a_whole(tmp_path: Path, name: str) -> None:
    rows = [{"board": n, "name": "x" * 10_000} for n in range(600)]
    path = written(tmp_path / name, WRITERS[name](rows))
    tracemalloc.start()
    try:
        [source] = inputs_at(str(path), None, print, lambda: False)
        assert sum(1 for _ in from_inputs([(source, [BOARD])], print)) == 600
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_a_row_group_of_parquet_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    texts = pa.array([f"{n}" * 2_000 for n in range(10_000, 15_000)])
    table = pa.table({"board": list(range(5_000)), "name": texts})
    parquet.write_table(table, path, use_dictionary=False, compression="NONE")
    del table, texts
    before, [source] = pa.total_allocated_bytes(), inputs_at(str(path), None, print, bool)
    rows = from_inputs([(source, [BOARD])], print)
    next(rows)
    assert path.stat().st_size > 50_000_000
    assert pa.total_allocated_bytes() - before < 30_000_000
