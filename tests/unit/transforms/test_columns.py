"""The types of a table's columns: what Delta holds, what is cast, and what is refused."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from core.batch import KAFKA, RESCUED
from sinks.delta.type_names import type_names
from transforms import columns

BERLIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
LAST = {**KAFKA.metadata, RESCUED: pl.String()}


def series(values: list[Any], dtype: Any) -> pl.DataFrame:
    return pl.DataFrame({"x": pl.Series(values, dtype=dtype, strict=False)})


@pytest.mark.parametrize(
    ("values", "dtype", "named"),
    [
        ([200], pl.UInt8(), "short"),
        ([60_000], pl.UInt16(), "integer"),
        ([3_000_000_000, None], pl.UInt32(), "long"),
        ([0.5], pl.Float16(), "float"),
        (["a", None], pl.Categorical(), "string"),
        (["a", None], pl.Enum(["a"]), "string"),
        ([[1, 2]], pl.Array(pl.UInt8(), 2), "array<short>"),
        ([{"a": 3, "b": ["x"]}], pl.Struct({"a": pl.UInt32(), "b": pl.List(pl.Enum(["x"]))}), ""),
        ([BERLIN], pl.Datetime("ms", "UTC"), "timestamp"),
        ([BERLIN], pl.Datetime("us", "Europe/Berlin"), "timestamp"),
        ([date(2026, 3, 1)], pl.Date(), "date"),
        ([True], pl.Boolean(), "boolean"),
        ([b"a"], pl.Binary(), "binary"),
        ([1], pl.Decimal(10, 2), "decimal(10,2)"),
    ],
)
def test_a_table_holds_the_same_values(
    tmp_path: Path, values: list[Any], dtype: pl.DataType, named: str
) -> None:
    frame = series(values, dtype)
    fitted = columns.fit(frame)
    fitted.write_delta(tmp_path / "table")
    read = pl.read_delta(str(tmp_path / "table"))
    assert read.schema == fitted.schema
    assert read["x"].to_list() == frame["x"].to_list()
    assert type_names(fitted.schema)["x"] == (named or "struct<a: long, b: array<string>>")


def test_what_delta_holds_already_is_not_touched() -> None:
    frame = pl.DataFrame({"a": [1], "b": ["x"], "c": [[0.5]], "d": [date(2026, 3, 1)]})
    assert columns.fit(frame) is frame


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (1, pl.UInt64(), "UInt64"),
        (1, pl.Int128(), "Int128"),
        (time(12), pl.Time(), "Time"),
        (timedelta(1), pl.Duration("us"), "Duration"),
        (BERLIN, pl.Datetime("ns", "UTC"), "Datetime"),
        ([timedelta(1)], pl.List(pl.Duration("us")), "Duration"),
        ({}, pl.Struct({}), "Struct"),
    ],
)
def test_a_type_that_delta_has_not_is_refused_with_advice(
    value: Any, dtype: pl.DataType, said: str
) -> None:
    (error,) = columns.problems("boards.py:clean", {"x": dtype, **LAST}, LAST)
    assert error.message.startswith("transform boards.py:clean, column x: Delta has no type for ")
    assert said in error.message
    assert error.hint
    with pytest.raises(columns.Unstorable):
        columns.fit(pl.DataFrame({"x": pl.Series([value], dtype=dtype)}))


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Datetime("us"),
        pl.Datetime("ms"),
        pl.Datetime("ns"),
        pl.List(pl.Datetime("ms")),
        pl.Struct({"a": pl.Array(pl.Datetime("us"), 1)}),
    ],
)
def test_a_time_without_a_zone_is_refused_wherever_it_is(dtype: pl.DataType) -> None:
    (error,) = columns.problems("t", {"x": dtype, **LAST}, LAST)
    assert error.message == "transform t makes datetimes without a zone: x"


def test_every_problem_is_told() -> None:
    found = {"a": pl.Time(), "A": pl.Datetime("us"), "_offset": pl.Int32(), "b": pl.UInt64()}
    messages = [error.message for error in columns.problems("t", found, LAST)]
    assert len(messages) == 5
    assert "lost or changed the columns _topic, _partition, _offset" in messages[0]
    assert "without a zone: A" in messages[1]
    assert "column a" in messages[2]
    assert "column b" in messages[3]
    assert "makes the columns a and A" in messages[4]
