"""Every wire type is read exactly or not at all, alike at once and one by one."""

import base64
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batch import KAFKA, RESCUED
from core.errors import ConfigError
from tests.support.examples import examples
from transforms.process import decode
from transforms.record import judge
from transforms.schema import Schema
from transforms.wire import ROW

TYPES: dict[str, Any] = {
    "ind": pl.Int64(),
    "count": pl.Int64(),
    "yes": pl.Boolean(),
    "size": pl.Float32(),
    "day": pl.Date(),
    "price": pl.Decimal(10, 2),
    "raw": pl.Binary(),
    "tags": pl.List(pl.String()),
    "numbers": pl.List(pl.Int64()),
    "place": pl.Struct({"lat": pl.Float64(), "names": pl.List(pl.String()), "no": pl.Int64()}),
    "stops": pl.List(pl.Struct({"at": pl.Int64(), "km": pl.Float32()})),
}
ROOM = Schema("room", "ind", TYPES)
NESTED = Schema("nested", "ind", {"ind": pl.Int64(), "days": pl.List(pl.Date())})


def frame(values: list[bytes]) -> pl.DataFrame:
    columns: dict[str, Any] = {
        "_topic": "t",
        "_partition": 0,
        "_offset": range(len(values)),
        "_key": None,
        "_timestamp": datetime(2024, 1, 1, tzinfo=UTC),
        "_value": values,
    }
    return pl.DataFrame(columns, schema={**KAFKA.metadata, "_value": pl.Binary()})


def both(values: list[bytes], schema: Schema) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decode at once, all but the last one that is left, and one by one; return both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transforms.process.SMALL", 1)
        found = decode(frame(values), schema, KAFKA)
    columns = ["_offset", *schema.fields, RESCUED]
    payloads = frame(values).select("_value").with_row_index(ROW)
    rows, rejects = judge(payloads, schema)
    alone = rows.rename({ROW: "_offset"}).cast({"_offset": pl.Int64()})
    assert found.rejected["_offset"].to_list() == rejects[ROW].to_list()
    assert found.rejected["detail"].to_list() == rejects["detail"].to_list()
    return found.rows.select(columns), alone.select(columns)


def read(wire: dict[str, Any], schema: Schema = ROOM) -> dict[str, Any]:
    """Return one row, read in both ways."""
    texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in wire.items()}
    line = ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items())
    at_once, alone = both([f"{{{line}}}".encode()] * 3, schema)
    assert set(map(repr, at_once.drop("_offset").rows())) == {repr(alone.row(0)[1:])}
    return alone.row(0, named=True)


WHOLE = [
    ("4.0", 4),
    ("4e0", 4),
    ("40e-1", 4),
    ("-7.00", -7),
    ("-0.0", 0),
    ("0.0", 0),
    ("9007199254740991.0", 2**53 - 1),
    ("-9007199254740991.0", 1 - 2**53),
]
NOT_WHOLE = [
    *["4.7", "-0.5", "4.00000000000000000001", "3.9999999999999999999", "39999999999999999999e-19"],
    *["9007199254740992.0", "9007199254740993.0", "-9007199254740993.0", "9007199254740990.75"],
    *[
        "1e300",
        "1e-400",
        "1e400",
        "1e-99999999999999999999",
        "123456789012345678.0",
        "true",
        "[4.0]",
    ],
]


@pytest.mark.parametrize(("token", "number"), WHOLE)
def test_a_whole_float_below_2_to_the_53_is_the_integer(token: str, number: int) -> None:
    found = read({"ind": token, "yes": True})
    assert (found["ind"], found[RESCUED]) == (number, None)
    found = read({"ind": 1, "count": token})
    assert (found["count"], found[RESCUED]) == (number, None)


@pytest.mark.parametrize("token", NOT_WHOLE)
def test_any_other_number_is_never_made_an_integer(token: str) -> None:
    assert both([b'{"ind":%s,"yes":true}' % token.encode()], ROOM)[1].is_empty()
    found = read({"ind": 1, "yes": True, "count": token})
    assert found["count"] is None
    assert list(json.loads(found[RESCUED])) == ["count"]


def test_a_schema_can_refuse_whole_floats() -> None:
    strict = Schema("room", "ind", {"ind": pl.Int64(), "count": pl.Int64()}, whole_floats=False)
    assert read({"ind": 1, "count": "4.0"}, strict)["count"] is None


def test_rows_of_whole_floats_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.record.read", lambda *_: pytest.fail("one by one"))
    values = [b'{"ind": %d.0, "count": %d, "size": 0.5}' % (i, i) for i in range(300)]
    values += [b'{"ind": %d, "count": %d}' % (i, i) for i in range(300, 600)]
    found = decode(frame(values), ROOM, KAFKA).rows
    assert found["ind"].to_list() == list(range(600))
    assert found["_offset"].to_list() == list(range(600))


EXACT: list[tuple[str, Any, Any]] = [
    ("yes", False, False),
    ("size", "1", 1.0),
    ("size", "-0.5", -0.5),
    ("size", "16777217", 16777216.0),
    ("day", "2024-02-29", date(2024, 2, 29)),
    ("day", "0001-01-01", date(1, 1, 1)),
    ("price", "12.5", Decimal("12.50")),
    ("price", '"12.500"', Decimal("12.50")),
    ("price", '"-99999999.99"', Decimal("-99999999.99")),
    ("price", "1e2", Decimal("100.00")),
    ("price", '"-0"', Decimal("0.00")),
    ("price", "7", Decimal("7.00")),
    ("raw", base64.b64encode(b"\xff\x00").decode(), b"\xff\x00"),
    ("raw", "", b""),
    ("tags", ["a", "b"], ["a", "b"]),
    ("tags", ["a", None, 5], ["a", None, "5"]),
    ("numbers", [], []),
    ("numbers", "[1, 2.0]", [1, 2]),
    ("place", {"lat": 1.5, "names": ["x"], "no": 3}, {"lat": 1.5, "names": ["x"], "no": 3}),
    ("place", {}, {"lat": None, "names": None, "no": None}),
    ("place", {"no": None, "lat": 2}, {"lat": 2.0, "names": None, "no": None}),
    ("stops", [{"at": 1}, None], [{"at": 1, "km": None}, None]),
]
RESCUED_VALUES: list[tuple[str, Any]] = [
    *[("yes", v) for v in ("1", '"true"', "[true]")],
    *[("size", v) for v in ('"1.5"', "1e39", "-3.4028235677973366e38", "true")],
    *[("day", v) for v in ('"2024-02-30"', '"0000-01-01"', '"2024-1-1"', "20240101")],
    *[("day", v) for v in ('"2024-01-01T00:00:00"', '" 2024-01-01"', "true")],
    *[
        ("price", v)
        for v in ('"1.555"', "1.555", "100000000", '"1e2"', '" 1"', '"+1"', '".5"', "1e9")
    ],
    *[("price", v) for v in ('"1."', "true", "[1]", "0.10000000000000000001", '"NaN"')],
    *[("raw", v) for v in ('"QR=="', '"QQ"', '"Q Q="', "1234", "true", '"\\u00e9"')],
    *[("tags", v) for v in ('"a"', '["a", true]', '["a", ["b"]]', '[{"a": 1}]', "5")],
    *[("numbers", v) for v in ("[4.7]", '["1"]', "[[1]]", "1", "[true]", "[9223372036854775808]")],
    *[("place", v) for v in ('{"lat": "1"}', '{"lon": 1}', "[]", "5", '{"names": "x"}')],
    *[("stops", v) for v in ('{"at": 1}', '[{"at": 1.5}]', '[{"km": 1e39}]', '[{"to": 1}]', "[1]")],
]


@pytest.mark.parametrize(("field", "wire", "value"), EXACT)
def test_a_value_of_its_type_is_read_exactly(field: str, wire: Any, value: Any) -> None:
    quoted = json.dumps(wire) if field in {"day", "raw"} else wire
    found = read({"ind": 1, "count": 2, field: quoted})
    assert found[field] == value
    assert found[RESCUED] is None


@pytest.mark.parametrize(("field", "wire"), RESCUED_VALUES)
def test_any_other_value_is_rescued_whole(field: str, wire: str) -> None:
    found = read({"ind": 1, "count": 2, field: wire})
    assert found[field] is None
    assert json.loads(found[RESCUED]) == {field: json.loads(wire)}


@pytest.mark.parametrize("wire", ['{"x": 1, "x": 2}', '{"lat": 1, "lat": null}'])
def test_a_member_that_is_there_twice_rejects_the_record(wire: str) -> None:
    assert both([b'{"ind":1,"count":2,"place":%s}' % wire.encode()], ROOM)[1].is_empty()


def test_types_that_the_reader_has_not_are_read_one_by_one() -> None:
    assert NESTED.readings == ()
    assert read({"ind": 1, "days": '["2024-01-01", null]'}, NESTED)["days"] == [
        date(2024, 1, 1),
        None,
    ]


NUMBERS = st.one_of(
    st.integers(-(2**64), 2**64).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**54), 2**54).map(lambda n: f"{n}.0"),
    st.from_regex(r"\A-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,4})?([eE][-+]?[0-9]{1,2})?\Z"),
    st.sampled_from([token for token, _ in WHOLE] + NOT_WHOLE),
)
TEXTS = st.one_of(
    st.text(max_size=6),
    st.dates().map(str),
    st.binary(max_size=4).map(lambda b: base64.b64encode(b).decode()),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
    st.sampled_from(['":', "{", "[", '{"lat": 1}', "true", "4.0", "2024-02-30", "QR=="]),
).map(json.dumps)
SCALARS = NUMBERS | TEXTS | st.sampled_from(["null", "true", "false"])
NAMES = st.sampled_from(["lat", "names", "no", "at", "km", "x"]).map(json.dumps)
ANY = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(NAMES, inner), max_size=3).map(
            lambda members: "{" + ",".join(f"{n}: {v}" for n, v in members) + "}"
        )
    ),
    max_leaves=5,
)
LIKELY: dict[str, st.SearchStrategy[str]] = {
    "ind": NUMBERS,
    "count": NUMBERS,
    "yes": st.sampled_from(["true", "false"]),
    "size": NUMBERS,
    "price": NUMBERS | TEXTS,
    "day": TEXTS,
    "raw": TEXTS,
    "tags": st.lists(TEXTS, max_size=3).map(lambda items: f"[{','.join(items)}]"),
    "numbers": st.lists(NUMBERS, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
}


@st.composite
def rooms(draw: st.DrawFn) -> bytes:
    """Text of an object with some fields of the schema, mostly of their types."""
    names = draw(
        st.lists(st.sampled_from([*TYPES, "ind", "x"]), max_size=6, unique=draw(st.booleans()))
    )
    members = [
        f'"{name}":{draw(st.one_of(LIKELY.get(name, ANY), ANY) if name != "ind" else NUMBERS)}'
        for name in names
    ]
    return ("{" + ",".join(members) + "}").encode("utf-8", "surrogatepass")


@given(st.lists(rooms(), max_size=8))
@settings(max_examples=examples(250), deadline=None)
def test_both_ways_agree_on_every_type(values: list[bytes]) -> None:
    at_once, alone = both(values, ROOM)
    assert at_once.schema == alone.schema
    assert list(map(repr, at_once.rows())) == list(map(repr, alone.rows()))


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("ind", {"ind": pl.Int64(), "x": pl.List(pl.Int32())}),
        ("ind", {"ind": pl.Int64(), "x": pl.List(pl.List)}),
        ("ind", {"ind": pl.Int64(), "x": pl.Struct({"y": pl.Datetime()})}),
        ("ind", {"ind": pl.Int64(), "x": pl.Struct({})}),
        ("ind", {"ind": pl.Int64(), "x": pl.Decimal}),
        ("ind", {"ind": pl.Boolean()}),
        ("ind", {"ind": pl.List(pl.Int64())}),
        ("ind", {"ind": pl.Binary()}),
    ],
)
def test_a_type_that_cannot_be_read_is_refused(key: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Schema("thing", key, fields)
