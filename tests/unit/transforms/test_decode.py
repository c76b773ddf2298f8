"""Bytes to rows: every payload ends as a row or as a reject, and the fast way never guesses."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batch import KAFKA
from core.errors import ConfigError
from tests.support.examples import examples
from tests.support.payloads import DUMPS, GOOD, PAYLOADS, TOKENS, mutated, objects
from transforms.process import CHUNK, SMALL, Decoded, decode
from transforms.record import Reason, Rejected, read
from transforms.schema import Schema

THING = Schema(
    "thing",
    "ind",
    {"ind": pl.Int64(), "name": pl.String(), "size": pl.Float64(), "note": pl.String()},
)

Outcome = tuple[object, ...]


def frame(values: list[bytes | None]) -> pl.DataFrame:
    columns = {
        "_topic": ["t"] * len(values),
        "_partition": [0] * len(values),
        "_offset": range(len(values)),
        "_key": [None] * len(values),
        "_timestamp": [datetime(2024, 1, 1, tzinfo=UTC)] * len(values),
        "_value": values,
    }
    return pl.DataFrame(columns, schema={**KAFKA.metadata, "_value": pl.Binary()})


def decoded(*values: bytes | None) -> Decoded:
    return decode(frame(list(values)), THING, KAFKA)


def row(value: bytes) -> dict[str, Any]:
    found = decoded(value)
    assert found.rejected.is_empty(), found.rejected["detail"].to_list()
    return {name: found.rows[name][0] for name in [*THING.fields, "_rescued"]}


def reject(value: bytes | None) -> tuple[str, str]:
    found = decoded(value)
    assert found.rows.is_empty()
    return found.rejected["reason"][0], found.rejected["detail"][0]


def outcomes(values: list[bytes | None]) -> list[Outcome]:
    """Return the outcome of each payload of one batch."""
    found = decoded(*values)
    assert found.rows["_offset"].is_sorted()
    assert found.rejected["_offset"].is_sorted()
    rows = found.rows.select("_offset", *THING.fields, "_rescued").rows()
    bad = found.rejected.select("_offset", "reason", "detail").rows()
    by_offset: dict[int, Outcome] = {}
    for offset, *rest in rows + bad:
        assert offset not in by_offset
        by_offset[offset] = tuple(map(repr, rest))
    return [by_offset[offset] for offset in range(len(values))]


def alone(value: bytes | None) -> Outcome:
    """Decode one payload by the slow path."""
    try:
        return tuple(map(repr, read(value, THING).values()))
    except Rejected as rejected:
        return tuple(map(repr, [rejected.reason.value, rejected.detail]))


def test_a_record_becomes_a_row_with_its_coordinates() -> None:
    rows = decoded(GOOD).rows
    assert rows.columns == [*THING.fields, *KAFKA.metadata, "_rescued"]
    assert rows.row(0)[:4] == (7, "lantern", 1.5, "a")
    assert rows["_topic"].to_list() == ["t"]
    assert rows["_rescued"].to_list() == [None]


def test_an_empty_batch_has_both_frames_with_their_columns() -> None:
    found = decoded()
    assert found.rows.schema == decoded(GOOD).rows.schema
    assert found.rejected.columns == [*KAFKA.metadata, "_value", "reason", "detail"]


def test_a_reject_keeps_its_bytes_and_coordinates() -> None:
    rejected = decoded(GOOD, b"\xff\x00").rejected
    assert rejected["_value"].to_list() == [b"\xff\x00"]
    assert rejected["_offset"].to_list() == [1]
    assert rejected.schema["reason"] == pl.String


REJECTS = [
    (None, Reason.TOMBSTONE),
    (b"", Reason.EMPTY),
    (b" \r\n", Reason.EMPTY),
    (b"hello", Reason.NOT_JSON),
    (GOOD[:-1], Reason.NOT_JSON),
    (GOOD + GOOD, Reason.NOT_JSON),
    (b'{"ind":1,"size":NaN}', Reason.NOT_JSON),
    (b'{"ind":1,"size":-Infinity}', Reason.NOT_JSON),
    (b'{"ind":1,"name":"a\nb"}', Reason.NOT_JSON),
    (b"{'ind':1}", Reason.NOT_JSON),
    (b"[1]", Reason.NOT_AN_OBJECT),
    (b"null", Reason.NOT_AN_OBJECT),
    (b'"text"', Reason.NOT_AN_OBJECT),
    (b"12", Reason.NOT_AN_OBJECT),
    (base64.b64encode(GOOD), Reason.DOUBLE_ENCODED),
    (json.dumps(base64.b64encode(GOOD).decode()).encode(), Reason.DOUBLE_ENCODED),
    (json.dumps(GOOD.decode()).encode(), Reason.DOUBLE_ENCODED),
    (b'{"ind":1,"name":"\xff"}', Reason.INVALID_UTF8),
    (b'{"ind":1,"name":"\xed\xa0\x80"}', Reason.INVALID_UTF8),
    (b'{"ind":1,"ind":1,"name":"a"}', Reason.DUPLICATE_KEY),
    (b'{"ind":1,"name":"a","name":null}', Reason.DUPLICATE_KEY),
    (b'{"ind":1,"name":"a","x":{"y":1,"y":2}}', Reason.DUPLICATE_KEY),
    (b'{"ind":1,"name":"\\ud800"}', Reason.INVALID_TEXT),
    (b'{"ind":1,"name":"a","\\udc00":1}', Reason.INVALID_TEXT),
    (b'{"ind":1}', Reason.WRONG_TYPE),
    (b'{"ind":1,"name":null}', Reason.WRONG_TYPE),
    (b'{"index":1,"title":"a pin"}', Reason.WRONG_TYPE),
    (b"{}", Reason.WRONG_TYPE),
    (b'{"name":"a"}', Reason.MISSING_KEY),
    (b'{"ind":null,"name":"a"}', Reason.MISSING_KEY),
    (b'{"ind":"x7","name":"a"}', Reason.BAD_KEY),
    (b'{"ind":1.5,"name":"a"}', Reason.BAD_KEY),
    (b'{"ind":true,"name":"a"}', Reason.BAD_KEY),
    (b'{"ind":[1],"name":"a"}', Reason.BAD_KEY),
    (b'{"ind":9223372036854775808,"name":"a"}', Reason.BAD_KEY),
    (b'{"ind":"9223372036854775808","name":"a"}', Reason.BAD_KEY),
    ('{"ind":"٣","name":"a"}'.encode(), Reason.BAD_KEY),
    (b'{"ind":' + b"9" * 5000 + b',"name":"a"}', Reason.BAD_KEY),
    (b'{"ind":1,"name":' + b"[" * 102 + b"]" * 102 + b"}", Reason.TOO_DEEP),
    (b'{"ind":1,"name":"a","x":' + b"[" * 99_999 + b"]" * 99_999 + b"}", Reason.TOO_DEEP),
]


@pytest.mark.parametrize(("value", "reason"), REJECTS)
def test_a_bad_payload_is_rejected_with_its_reason(value: bytes | None, reason: Reason) -> None:
    found, detail = reject(value)
    assert found == reason.value
    assert detail


def test_every_reason_has_an_example() -> None:
    assert {reason for _, reason in REJECTS} == set(Reason) - {Reason.TRANSFORM_FAILED}


def test_the_detail_names_the_key_and_what_was_in_it() -> None:
    assert reject(b'{"ind":"x7","name":"a"}')[1] == "the key 'ind' is \"x7\""
    assert "'name'" in reject(b'{"ind":1,"name":"a","name":"b"}')[1]


def test_a_key_of_digits_in_text_is_a_key() -> None:
    assert row(b'{"ind":"-42","name":"a"}')["ind"] == -42


def test_a_missing_field_and_a_null_field_are_null() -> None:
    assert row(b'{"ind":1,"name":"a","size":null}') == {
        "ind": 1,
        "name": "a",
        "size": None,
        "note": None,
        "_rescued": None,
    }


def test_a_number_in_a_text_field_is_its_text() -> None:
    found = row(b'{"ind":1,"name":25,"note":1e5}')
    assert (found["name"], found["note"]) == ("25", "100000")


RESCUES = [
    (b'{"ind":1,"name":"a","size":"1.5"}', {"size": "1.5"}),
    (b'{"ind":1,"name":"a","size":true}', {"size": True}),
    (b'{"ind":1,"name":"a","size":1' + b"0" * 400 + b"}", {"size": 10**400}),
    (b'{"ind":1,"name":"a","size":1e400}', {"size": "1e400"}),
    (b'{"ind":1,"size":2,"name":false}', {"name": False}),
    (b'{"ind":1,"size":2,"name":["x"]}', {"name": ["x"]}),
    (b'{"ind":1,"size":2,"name":{}}', {"name": {}}),
    (b'{"ind":1,"name":"a","extra":null}', {"extra": None}),
    (b'{"ind":1,"name":"a","x":{"y":[1.5,"z"]},"ind ":2}', {"x": {"y": [1.5, "z"]}, "ind ": 2}),
    (b'{"ind":1,"name":"a","x" :1}', {"x": 1}),
    (b'{"ind":1,"name":"a","x"  :1}', {"x": 1}),
    (b'{"ind":1,"name":"a","x"\t:1}', {"x": 1}),
    (b'{"ind":1,"name":"a","x"\n:1}', {"x": 1}),
]


@pytest.mark.parametrize(("value", "rescued"), RESCUES)
def test_what_fits_no_field_is_rescued(value: bytes, rescued: dict[str, Any]) -> None:
    found = row(value)
    assert json.loads(found["_rescued"]) == rescued
    assert [found[name] for name in rescued if name in THING.fields] == [None] * len(
        rescued.keys() & THING.fields.keys()
    )


def test_the_rescued_text_keeps_wire_order_and_characters() -> None:
    found = row('{"zebra":"é","ind":1,"name":"a","ant":"🎄"}'.encode())
    assert found["_rescued"] == '{"zebra": "é", "ant": "🎄"}'


@pytest.mark.parametrize(
    "text",
    [
        *['say "x": no', "a : b", '" : "', '":', "{", "[1]", "true", "NaN", "1.50", "-0", "1" * 30],
        *[
            "a\nb\t",
            "\0",
            "\\ud800",
            "é…\u00a0",
            "\U0001f469\u200d\U0001f467 שלום",
            "\ufffd",
            " a  ",
        ],
        "x" * 2**20,
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_text_is_never_changed(text: str, *, ascii_only: bool) -> None:
    wire = {"ind": 1, "name": text, "size": 1.0, "note": "b"}
    found = row(json.dumps(wire, ensure_ascii=ascii_only).encode())
    assert found == wire | {"_rescued": None}


def test_a_byte_order_mark_and_blanks_around_an_object_are_no_harm() -> None:
    for value in (b"\xef\xbb\xbf" + GOOD, GOOD + b"\n", b"\r\n " + GOOD + b"\r\n"):
        assert row(value) == row(GOOD)


@given(st.lists(PAYLOADS, max_size=12))
@settings(max_examples=examples(200), deadline=None)
def test_every_payload_ends_once_and_as_it_would_alone(values: list[bytes | None]) -> None:
    assert outcomes(values) == [alone(value) for value in values]


@pytest.mark.parametrize("field", ["ind", "name", "size"])
def test_each_token_is_read_alike_both_ways(field: str) -> None:
    rest = {"ind": b'"note":"a"', "name": b'"ind":1', "size": b'"ind":1'}[field]
    for token in TOKENS:
        value = b'{"%s":%s,%s}' % (field.encode(), token, rest)
        assert outcomes([value]) == [alone(value)], value


@given(st.lists(objects() | DUMPS | mutated(), max_size=12))
@settings(max_examples=examples(300), deadline=None)
def test_the_fast_way_agrees_with_the_slow_one(values: list[bytes]) -> None:
    """With pieces of one row, so that nothing that the batch reader can read goes the slow way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transforms.process.SMALL", 1)
        assert outcomes([*values]) == [alone(value) for value in values]


@given(PAYLOADS, st.integers(0, 3 * SMALL))
@settings(max_examples=examples(40), deadline=None)
def test_a_bad_payload_leaves_its_neighbours_alone(bad: bytes | None, at: int) -> None:
    values: list[bytes | None] = [b'{"ind":%d,"name":"n","size":0.5}' % i for i in range(3 * SMALL)]
    expected = outcomes(values)
    found = outcomes([*values[:at], bad, *values[at:]])
    assert found[:at] + found[at + 1 :] == expected
    assert found[at] == alone(bad)


def test_order_is_kept_over_chunks_and_bad_rows() -> None:
    values: list[bytes | None] = [b'{"ind":%d,"name":"n"}' % i for i in range(2 * CHUNK + 10)]
    for at, bad in [(0, b"{NaN}"), (CHUNK - 1, None), (CHUNK, b'{"ind":1,"name":"\\udc00"}')]:
        values[at] = bad
    found = decoded(*values)
    assert found.rejected["_offset"].to_list() == [0, CHUNK - 1, CHUNK]
    assert (found.rows["ind"] == found.rows["_offset"]).all()
    assert len(found.rows) == len(values) - 3


def test_good_rows_beside_a_bad_one_are_still_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes | None] = []

    def count(value: bytes | None, schema: Schema) -> dict[str, Any]:
        seen.append(value)
        return read(value, schema)

    monkeypatch.setattr("transforms.record.read", count)
    bad = [b'{"ind":1,"size":NaN}', b'{"ind":1,"name":"\xff"}', b'{"ind":1,"name":"\\udc00"}']
    decoded(*[GOOD] * 500, *bad, *[GOOD] * 500)
    assert seen == bad
    seen.clear()
    decoded(*[GOOD] * 500, b'{"ind":01}', *[GOOD] * 500)
    assert len(seen) <= SMALL


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("ind", {"name": pl.String()}),
        ("ind", {"ind": pl.Int32()}),
        ("_offset", {"_offset": pl.Int64()}),
    ],
)
def test_a_schema_that_cannot_be_decoded_is_refused(
    key: str, fields: dict[str, pl.DataType]
) -> None:
    with pytest.raises(ConfigError):
        Schema("thing", key, fields)
