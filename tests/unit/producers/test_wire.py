"""Values as exact JSON in the types of a schema, or refused."""

import base64
import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.numbers import Cell, Literal
from producers.wire import to_wire

INT, FLOAT, TEXT, MONEY = pl.Int64(), pl.Float64(), pl.String(), pl.Decimal(6, 2)
DAY, RAW, YES = pl.Date(), pl.Binary(), pl.Boolean()
LIST, PAIR = pl.List(pl.Int64()), pl.Struct({"a": pl.Int64()})
NOON = datetime(2020, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "dtype", "wire"),
    [
        (4.0, INT, 4),
        (float(2**53 - 1), INT, 2**53 - 1),
        (-0.0, INT, 0),
        (Decimal("107.00"), INT, 107),
        (Decimal(2**62), INT, 2**62),
        (Cell("107.0"), INT, 107),
        (Cell("1.07e2"), INT, 107),
        (Cell(" 107 "), INT, 107),
        (Cell("nan"), INT, None),
        (Literal("4.0"), INT, 4),
        ("7", INT, 7),
        (-(2**63), INT, -(2**63)),
        (math.nan, INT, None),
        (None, INT, None),
        (Cell("1.5"), FLOAT, 1.5),
        (Cell("NaN"), FLOAT, None),
        (Decimal("1.50"), FLOAT, 1.5),
        (2**60, FLOAT, 2**60),
        (25.0, TEXT, 25),
        (Decimal("25.00"), TEXT, 25),
        (Decimal("25.50"), TEXT, "25.50"),
        (Decimal(10**37), TEXT, str(10**37)),
        (2**63, TEXT, str(2**63)),
        (Cell("107.0"), TEXT, "107.0"),
        (Literal("25.0"), TEXT, 25),
        (Literal("0.12345678901234567890"), TEXT, "0.12345678901234567890"),
        (NOON, TEXT, "2020-01-02T12:00:00+00:00"),
        (date(2020, 1, 2), TEXT, "2020-01-02"),
        (time(1, 2, 3), TEXT, "01:02:03"),
        ("é".encode(), TEXT, "é"),
        (memoryview(b"a"), TEXT, "a"),
        (UUID(int=1), TEXT, "00000000-0000-0000-0000-000000000001"),
        (pl.Series([7], dtype=pl.UInt8)[0], INT, 7),
        (Cell("TRUE"), YES, True),
        (date(2020, 1, 2), DAY, "2020-01-02"),
        (datetime(2020, 1, 2, tzinfo=UTC), DAY, "2020-01-02"),
        (b"\xff", RAW, base64.b64encode(b"\xff").decode()),
        (Cell("[1, 2.0]"), LIST, [1, 2]),
        ({"a": 4.0}, PAIR, {"a": 4}),
        ([1.5, {"at": NOON}, math.nan], None, [1.5, {"at": "2020-01-02T12:00:00+00:00"}, None]),
        (Literal("4.0"), None, 4.0),
        (4.0, None, 4.0),
    ],
)
def test_a_value_goes_as_the_json_that_its_field_declares(
    value: object, dtype: pl.DataType | None, wire: object
) -> None:
    made = to_wire(value, dtype)
    assert made == wire
    assert type(made) is type(wire)


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (4.7, INT, "4.7 is not a whole number"),
        (Decimal("4.7"), INT, "4.7 is not a whole number"),
        (Cell("4.7"), INT, '"4.7" is not a whole number'),
        (Cell("1_000"), INT, "not a whole number"),
        (Cell("٤"), INT, "not a whole number"),
        (True, INT, "true is not a whole number"),
        ([4], INT, "not a whole number"),
        (2.0**53, INT, "2\\^53 or more"),
        (Cell("9007199254740993.0"), INT, "2\\^53 or more"),
        (Cell("1e999999999"), INT, "2\\^53 or more"),
        (Decimal("1e999999"), INT, "not a whole number"),
        (2**63, INT, "64 bits"),
        (math.inf, INT, "not a whole number"),
        (math.inf, FLOAT, "not a finite number"),
        (Cell("1e400"), FLOAT, "not a finite number"),
        (2**53 + 1, FLOAT, "more digits than a float"),
        ("north", FLOAT, "not a finite number"),
        (True, TEXT, "true is not text"),
        ({"a": 1}, TEXT, "not text"),
        (1e20, TEXT, "2\\^53 or more"),
        (b"\xff", TEXT, "not UTF-8 text"),
        ("\ud800", TEXT, "surrogate"),
        (timedelta(1), TEXT, "not text"),
        (timedelta(1), None, "timedelta"),
        (math.inf, None, "not a finite number"),
        (NOON, DAY, "without a time of day"),
        (Decimal("1.234"), MONEY, "6 digits with 2 after"),
        (Decimal(12345), MONEY, "6 digits with 2 after"),
        (Cell("2020-13-01"), DAY, "not a date"),
        (Cell("maybe"), YES, "not true or false"),
        (Cell("[1, 2.5]"), LIST, "not a whole number"),
        ("?", RAW, "not base64"),
        ("YR==", RAW, "not base64"),
        (1e39, pl.Float32(), "not a float of 32 bits"),
        ({"a": 1, "b": 2}, PAIR, 'with "b", which the schema does not know'),
    ],
)
def test_a_value_without_an_exact_json_value_is_refused(
    value: object, dtype: pl.DataType | None, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        to_wire(value, dtype)


@given(st.one_of(st.floats(), st.integers(), st.decimals(allow_nan=False), st.text()))
def test_no_number_changes_on_the_wire_of_an_integer_field(value: object) -> None:
    try:
        wire = to_wire(value, INT)
    except ValueError:
        return
    if wire is None:
        assert value != value or str(value).strip().lower() == "nan"  # noqa: PLR0124
    else:
        assert json.loads(json.dumps(wire)) == (Decimal(value) if isinstance(value, str) else value)
