"""A row that is rehydrated equals the row that the new declaration makes of the same record."""

import json
from functools import partial
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from core.batch import KAFKA, KINESIS, Coordinates
from tests.support.examples import examples
from transforms.process import Transform, try_out
from transforms.rehydrate import Rehydrated, Rehydrator
from transforms.schema import Schema
from transforms.text import rescue, timestamp, unread
from transforms.trial import try_rows

OLD = Schema("board", "id", {"id": pl.Int64(), "title": pl.String()})
TYPES: list[pl.DataType] = [
    pl.Int64(),
    pl.Float64(),
    pl.Float32(),
    pl.String(),
    pl.Boolean(),
    pl.Date(),
    pl.Binary(),
    pl.Decimal(10, 2),
    pl.List(pl.Int64()),
    pl.Struct({"a": pl.Int64(), "b": pl.String()}),
]


def new(dtype: pl.DataType) -> Schema:
    return Schema("board", "id", {**OLD.fields, "x": dtype})


def plain(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows


def stored(
    records: list[Any], schema: Schema, transform: Transform, coordinates: Coordinates = KAFKA
) -> pl.DataFrame:
    """Return the rows that the old declaration made, in a table with the new columns."""
    rows = try_rows(OLD, plain, records, coordinates).clean
    wanted = try_out(schema, transform, coordinates)
    added = [pl.lit(None, dtype=t).alias(n) for n, t in wanted.items() if n not in rows.columns]
    return rows.with_columns(added).select(wanted.names())


def rehydrated(
    records: list[Any],
    schema: Schema,
    transform: Transform = plain,
    coordinates: Coordinates = KAFKA,
) -> Rehydrated:
    rows = stored(records, schema, transform, coordinates)
    return Rehydrator(schema, transform, coordinates)(rows)


def board(**fields: Any) -> dict[str, Any]:
    return {"id": 1, "title": "Oak"} | fields


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.just(4.0)
)
TEXTS = st.sampled_from(["", "a", "25", "2024-02-29", "/wA=", "12.50", 'quo"te', "ü🎉", "\\", "}"])
LEAVES = st.one_of(NUMBERS, TEXTS, st.booleans(), st.none())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.tuples(VALUES, st.sampled_from(["none", "before", "after"]), VALUES), max_size=4)
)
def test_a_value_that_fits_makes_the_row_of_the_new_declaration(
    dtype: pl.DataType, values: list[tuple[Any, str, Any]]
) -> None:
    records = [
        {"id": 1, "title": "Oak"}
        | ({"other": more} if where == "before" else {})
        | {"x": value}
        | ({"other": more} if where == "after" else {})
        for value, where, more in values
    ]
    schema = new(dtype)
    found = rehydrated(records, schema)
    wanted = try_rows(schema, plain, records).clean
    exact = [dtype != pl.Decimal or not isinstance(value, float) for value, _, _ in values]
    kept = pl.Series(exact, dtype=pl.Boolean)
    assert_frame_equal(
        found.rows.filter(kept).select(wanted.columns), wanted.filter(kept), check_exact=True
    )
    again = Rehydrator(schema, plain, KAFKA)(found.rows)
    assert again.changed == 0
    assert_frame_equal(again.rows, found.rows)


def test_counts_and_samples_say_what_converts_and_what_stays() -> None:
    records = [board(x=value) for value in (1, "1", 2.0, 2.5, None)]
    found = rehydrated(records, new(pl.Int64()))
    own = found.fields["x"]
    assert (own.converts, own.stays, own.columns) == (3, 2, {"x"})
    assert (own.converted, own.left) == (["1", "2.0", "null"], ['"1"', "2.5"])
    assert found.changed == 3


def test_a_transform_parses_the_value_and_what_it_cannot_read_stays() -> None:
    def parsed(rows: pl.LazyFrame) -> pl.LazyFrame:
        moment = timestamp(pl.col("x"))
        return rows.with_columns(rescue({"x": unread("x", moment)})).with_columns(x=moment)

    records = [board(x="2024-02-29T12:00:00Z"), board(x="soon"), board(other=1, x="2024-03-01")]
    found = rehydrated(records, new(pl.String()), parsed)
    assert (found.fields["x"].converts, found.fields["x"].left) == (2, ['"soon"'])
    assert found.rows["x"].is_null().to_list() == [False, True, False]
    assert found.rows["_rescued"].to_list() == [None, '{"x": "soon"}', '{"other": 1}']


def test_a_column_of_several_fields_is_not_guessed() -> None:
    bodies = (
        pl.col("title") + pl.col("x"),
        pl.when(pl.col("title").is_null()).then("x"),
        pl.coalesce("title", "x"),
    )
    for body in bodies:
        found = rehydrated(
            [board(x="a")], new(pl.String()), partial(pl.LazyFrame.with_columns, x=body)
        )
        assert found.changed == 0, body
        assert found.rows["_rescued"].to_list() == ['{"x": "a"}']


def test_a_field_that_no_column_takes_stays() -> None:
    found = rehydrated([board(x=1)], new(pl.Int64()), lambda rows: rows.drop("x"))
    assert (found.changed, found.rows["_rescued"].to_list()) == (0, ['{"x": 1}'])


def test_a_column_that_has_another_value_keeps_it_and_so_does_rescued() -> None:
    rows = stored([board(x=1), board(x=2)], new(pl.Int64()), plain)
    rows = rows.with_columns(x=pl.Series([7, None], dtype=pl.Int64))
    found = Rehydrator(new(pl.Int64()), plain, KAFKA)(rows)
    assert found.rows["x"].to_list() == [7, 2]
    assert found.rows["_rescued"].to_list() == ['{"x": 1}', None]


def test_one_field_may_fill_two_columns() -> None:
    found = rehydrated(
        [board(x=3)], new(pl.Int64()), lambda rows: rows.with_columns(twice=pl.col("x") * 2)
    )
    assert found.rows.select("x", "twice").row(0) == (3, 6)
    assert found.fields["x"].columns == {"x", "twice"}


def test_rows_that_the_transform_leaves_out_or_fails_on_stay() -> None:
    def fails(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.with_columns(x=pl.col("x").cast(pl.String).str.to_date("%Y").cast(pl.Int64))

    for transform in (lambda rows: rows.filter(pl.col("x") > 5), fails):
        found = rehydrated([board(x=1)], new(pl.Int64()), transform)
        assert (found.changed, found.fields["x"].stays) == (0, 1)


def test_what_is_no_json_object_stays_as_it_is() -> None:
    rows = stored([board(x=1)] * 3, new(pl.Int64()), plain)
    odd = pl.Series("_rescued", ["[1]", "{", None], dtype=pl.String)
    found = Rehydrator(new(pl.Int64()), plain, KAFKA)(rows.with_columns(odd))
    assert found.changed == 0
    assert_frame_equal(found.rows, rows.with_columns(odd))


def test_rows_of_the_same_coordinates_are_not_mixed_up() -> None:
    rows = stored([board(x=1), board(x=2)], new(pl.Int64()), plain)
    found = Rehydrator(new(pl.Int64()), plain, KAFKA)(
        rows.with_columns(_offset=pl.lit(0, pl.Int64))
    )
    assert found.rows["x"].to_list() == [1, 2]


def test_records_of_a_stream_are_rehydrated_too() -> None:
    found = rehydrated([board(x=1)] * 2, new(pl.Int64()), plain, KINESIS)
    assert found.rows["x"].to_list() == [1, 1]


def test_decimals_are_made_of_text_and_integers_only() -> None:
    found = rehydrated([board(x=v) for v in ("1.50", 2, 2.5)], new(pl.Decimal(10, 2)))
    assert [json.loads(text) for text in found.fields["x"].converted] == ["1.50", 2]
    assert found.fields["x"].left == ["2.5"]
