"""What `produce` sends of a row, consumers decode to that row: nothing is rescued or rejected."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from core.batch import KAFKA, RESCUED, VALUE
from producers.delivery import compact
from producers.numbers import Cell, Literal
from producers.record_type import RecordType
from producers.rows.events import Refused, wire_row
from transforms.process import decode
from transforms.record import read
from transforms.schema import Schema

TYPES: Mapping[str, pl.DataType] = {
    "key": pl.Int64(),
    "whole": pl.Int64(),
    "real": pl.Float64(),
    "small": pl.Float32(),
    "text": pl.String(),
    "yes": pl.Boolean(),
    "day": pl.Date(),
    "money": pl.Decimal(12, 2),
    "raw": pl.Binary(),
    "list": pl.List(pl.Int64()),
    "pair": pl.Struct({"a": pl.Float64(), "b": pl.String()}),
}
SCHEMA = Schema("thing", "key", TYPES)
OWN = RecordType("thing", SCHEMA.key, SCHEMA.fields)

NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65),
    st.integers(-(2**54), 2**54).map(float),
    st.floats(),
    st.decimals(places=2),
    st.integers().map(lambda n: Cell(f"{n}.0")),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda n: Literal(repr(n))),
)
TEXTS = st.one_of(st.text(max_size=9), st.text(max_size=9).map(Cell), st.dates(), st.datetimes())
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.binary(max_size=9))
LISTS = st.lists(st.one_of(st.none(), NUMBERS), max_size=3)
PAIRS = st.fixed_dictionaries({}, optional={"a": NUMBERS, "b": TEXTS})
VALUES = st.one_of(SCALARS, LISTS, LISTS.map(lambda v: Cell(json.dumps(v, default=str))), PAIRS)


def decoded(payload: bytes) -> list[dict[str, Any]]:
    """Return the row of a payload, as the batch reader and as the single record give it."""
    times = [datetime(2024, 1, 1, tzinfo=UTC)]
    columns = {"_topic": ["t"], "_partition": [0], "_offset": [0], "_key": [None]}
    whole = columns | {"_timestamp": times, VALUE: [payload]}
    frame = pl.DataFrame(whole, schema={**KAFKA.metadata, VALUE: pl.Binary()})
    found = decode(frame, SCHEMA, KAFKA)
    assert found.rejected.is_empty()
    return [found.rows.select(*TYPES, RESCUED).row(0, named=True), read(payload, SCHEMA)]


def plain(value: Any) -> Any:
    """Return a decoded value as JSON has it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date) else value


@given(st.sampled_from(sorted(TYPES)), VALUES)
def test_a_value_that_produce_takes_is_decoded_as_it_was(name: str, value: Any) -> None:
    try:
        wire = wire_row({"key": 1, "whole": 2, name: value}, OWN)
    except Refused:
        return
    for made in decoded(compact(wire).encode()):
        assert made[RESCUED] is None
        assert (made[name] is None) == (wire[name] is None)
        if made[name] is None:
            continue
        if TYPES[name] in {pl.Int64(), pl.Decimal(12, 2)}:
            assert made[name] == (Decimal(value) if isinstance(value, str) else Decimal(str(value)))
        elif TYPES[name] == pl.Float64():
            assert made[name] == float(value)
        elif TYPES[name] in {pl.Date(), pl.Binary(), pl.Boolean(), pl.List(pl.Int64())}:
            assert plain(made[name]) == wire[name]
        elif isinstance(value, Cell | date) and name == "text":
            assert made[name] == str(value if isinstance(value, str) else value.isoformat())
