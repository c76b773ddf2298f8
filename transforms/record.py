"""One record at a time: the judge of what the batch reader cannot be trusted with."""

import base64
import json
import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, NamedTuple

import polars as pl

from core.batch import RESCUED
from transforms.coerce import Coerce, Mistyped, Real
from transforms.schema import Schema
from transforms.wire import ROW

NO_REJECTS = pl.DataFrame(schema={ROW: pl.UInt32(), "reason": pl.String(), "detail": pl.String()})
DECODING = 2  # raised when the same record becomes something else
MAX_DEPTH = 100
MAX_DETAIL = 200  # characters
_DIGITS = re.compile(r"-?[0-9]{1,19}")
_MAX_DIGITS = 4000
_INFINITE = (float("inf"), float("-inf"))


class Reason(StrEnum):
    """Why a record is in quarantine."""

    TOMBSTONE = "tombstone"
    EMPTY = "empty"
    INVALID_UTF8 = "invalid_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    DUPLICATE_KEY = "duplicate_key"
    INVALID_TEXT = "invalid_text"
    DOUBLE_ENCODED = "double_encoded"
    NOT_AN_OBJECT = "not_an_object"
    WRONG_TYPE = "wrong_type"
    MISSING_KEY = "missing_key"
    BAD_KEY = "bad_key"
    TRANSFORM_FAILED = "transform_failed"


class Rejected(Exception):
    """A record that cannot become a row."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail.encode("utf-8", "backslashreplace").decode()[:MAX_DETAIL]


def judge(payloads: pl.DataFrame, schema: Schema) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read each payload by itself: return the rows, and the rejects with their reasons."""
    rows, rejects = [], []
    for row, value in payloads.iter_rows():
        try:
            rows.append((row, *read(value, schema).values()))
        except Rejected as rejected:
            rejects.append((row, rejected.reason.value, rejected.detail))
    return (
        pl.DataFrame(rows, schema=schema.no_rows.schema, orient="row"),
        pl.DataFrame(rejects, schema=NO_REJECTS.schema, orient="row"),
    )


def read(value: bytes | None, schema: Schema) -> dict[str, Any]:
    """Return the fields of one JSON record and `_rescued`; raise Rejected with the reason."""
    record = _object(_text(value), _EXACT_DECODER if schema.has_decimals else _DECODER)
    fields = {name: _coerced(record.get(name), make) for name, make in schema.coercers.items()}
    fields[schema.key] = _key(record, schema)
    rescued = {
        name: wire
        for name, wire in record.items()
        if name not in fields or (wire is not None and fields[name] is None)
    }
    return fields | {RESCUED: json.dumps(rescued, ensure_ascii=False) if rescued else None}


class FieldValue(NamedTuple):
    """A field as it is on the wire, and its value; None: the field does not take it."""

    wire: Any
    value: Any


def field_values(rescued: str | None, schema: Schema) -> dict[str, FieldValue]:
    """Return the fields of the schema that a `_rescued` holds; none where it is no JSON object.

    A number with a fraction has lost the digits beyond a float's: no Decimal is made of it.
    """
    try:
        members = json.loads(rescued or "null", parse_float=_real, parse_int=_integer)
    except (ValueError, RecursionError):
        return {}
    held = members.items() if isinstance(members, dict) else ()
    return {n: FieldValue(w, _value(w, n, schema)) for n, w in held if n in schema.fields}


def _value(wire: Any, name: str, schema: Schema) -> Any:
    if schema.is_decimal(name) and _has_fraction(wire):
        return None
    return _coerced(wire, schema.coercers[name])


def _has_fraction(wire: Any) -> bool:
    if isinstance(wire, (dict, list)):
        return any(map(_has_fraction, wire.values() if isinstance(wire, dict) else wire))
    return isinstance(wire, float)


def _text(value: bytes | None) -> str:
    if value is None:
        raise Rejected(Reason.TOMBSTONE, "the record has no value")
    try:
        text = value.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise Rejected(Reason.INVALID_UTF8, f"{error.reason} at byte {error.start}") from error
    if not text.strip():
        raise Rejected(Reason.EMPTY, f"the value is {len(value)} bytes of nothing")
    return text


def _object(text: str, decoder: json.JSONDecoder) -> dict[str, Any]:
    try:
        record = _parse(text, decoder)
    except Rejected as rejected:
        if rejected.reason is Reason.NOT_JSON and _hides_object(text):
            raise Rejected(Reason.DOUBLE_ENCODED, "base64 of a JSON object") from rejected
        raise
    if isinstance(record, str) and _hides_object(record):
        raise Rejected(Reason.DOUBLE_ENCODED, "a JSON string that holds a JSON object")
    if not isinstance(record, dict):
        raise Rejected(Reason.NOT_AN_OBJECT, f"JSON, but {_kind(record)}")
    return record


def _parse(text: str, decoder: json.JSONDecoder) -> Any:
    """Return the JSON value of `text`, if it can be written again as it is."""
    try:
        value = decoder.decode(text)
    except RecursionError as error:
        raise Rejected(Reason.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise Rejected(Reason.NOT_JSON, str(error)) from error
    if _deeper_than(MAX_DEPTH, value):
        raise Rejected(Reason.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels")
    if "\\u" in text and not _is_unicode(value):
        raise Rejected(Reason.INVALID_TEXT, "half of a surrogate pair, which is no character")
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Rejected(Reason.DUPLICATE_KEY, f"the key {twice!r} is there more than once")
    return found


def _integer(text: str) -> int | str:
    """Return an integer; text when it is longer than Python reads."""
    return int(text) if len(text) < _MAX_DIGITS else text


def _real(text: str) -> float | str:
    """Return a float, a Real if it is a whole number; text when it is beyond what a float holds."""
    number = float(text)
    return _exact_real(text) if number.is_integer() or number in _INFINITE else number


def _exact_real(text: str) -> float | str:
    """Return a Real; text when it is beyond what a float holds."""
    number = Real(text)
    return text if number in _INFINITE else number


def _constant(name: str) -> Any:
    raise Rejected(Reason.NOT_JSON, f"{name} is not JSON")


def _decoder(parse_float: Callable[[str], float | str]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_pairs,
        parse_int=_integer,
        parse_float=parse_float,
        parse_constant=_constant,
    )


_DECODER = _decoder(_real)
_EXACT_DECODER = _decoder(_exact_real)


def _deeper_than(room: int, value: Any) -> bool:
    children: Iterable[Any] = ()
    if isinstance(value, dict):
        children = value.values()
    elif isinstance(value, list):
        children = value
    return room < 0 or any(_deeper_than(room - 1, child) for child in children)


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _hides_object(text: str) -> bool:
    """Whether `text` is a JSON object, or the base64 of one."""
    for inner in (text, _unbase64(text)):
        try:
            if inner.lstrip().startswith("{") and isinstance(_parse(inner, _DECODER), dict):
                return True
        except Rejected:
            continue
    return False


def _unbase64(text: str) -> str:
    try:
        return base64.b64decode(text.strip(), validate=True).decode()
    except ValueError:
        return ""


def _kind(value: Any) -> str:
    names = {list: "an array", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _key(record: dict[str, Any], schema: Schema) -> Any:
    others = schema.fields.keys() - {schema.key}
    if others and all(record.get(name) is None for name in others):
        raise Rejected(Reason.WRONG_TYPE, f"no field of a {schema.name} record in it")
    wire = record.get(schema.key)
    if wire is None:
        state = "null" if schema.key in record else "missing"
        raise Rejected(Reason.MISSING_KEY, f"the key {schema.key!r} is {state}")
    digits = schema.fields[schema.key] == pl.Int64 and isinstance(wire, str)
    if digits and _DIGITS.fullmatch(wire):
        wire = int(wire)
    key = _coerced(wire, schema.coercers[schema.key])
    if key is None:
        shown = json.dumps(wire, ensure_ascii=False)
        raise Rejected(Reason.BAD_KEY, f"the key {schema.key!r} is {shown}")
    return key


def _coerced(wire: Any, make: Coerce) -> Any:
    try:
        return make(wire)
    except Mistyped:
        return None
