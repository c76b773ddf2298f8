"""Values of files and databases as exact JSON values in the types that a schema declares."""

import base64
import json
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from numbers import Number
from typing import Any
from uuid import UUID

import polars as pl

from producers.numbers import (
    EXACT,
    Cell,
    Literal,
    decimal,
    infinite,
    integer,
    real,
    real32,
    refusal,
    shown,
    whole,
    whole_text,
)

_BOOLEANS = {"true": True, "false": False}


def depth(value: Any) -> int:
    """Return how deep lists and objects are nested in `value`."""
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
        case _:
            return 0


def to_wire(value: Any, dtype: pl.DataType | None) -> Any:
    """Return `value` as the JSON value of a field of type `dtype`; None: a field unknown to it.

    NaN is null. Raises ValueError with the reason when there is no exact one.
    """
    if isinstance(value, Number) and hasattr(value, "item"):
        value = value.item()  # numpy's
    if isinstance(value, memoryview | bytearray):
        value = bytes(value)  # of some drivers
    if _is_missing(value):
        return None
    make = _MAKERS.get(dtype.base_type(), _undeclared) if dtype is not None else _undeclared
    return make(value, dtype)


def _is_missing(value: Any) -> bool:
    if isinstance(value, Decimal):
        return value.is_nan()
    return value is None or (isinstance(value, float | datetime) and value != value)  # noqa: PLR0124


def _text(value: Any, _: pl.DataType | None) -> str | int | float:
    match value:
        case Literal():
            return _literal_text(value)
        case str():
            return unicode(value)
        case bool():
            raise refusal(value, "text")
        case float() | Decimal() | int():
            return _number_text(value)
        case date() | time():
            return value.isoformat()
        case bytes():
            return _utf8(value)
        case UUID():
            return str(value)
        case _:
            raise refusal(value, "text")


def _literal_text(value: Literal) -> str | int | float:
    """Return the number as JSON, or as text where a float would change it."""
    number = whole_text(value)
    if number is not None:
        return number
    nearest = float(value)
    return nearest if Decimal(repr(nearest)) == Decimal(value) else str(value)


def _number_text(value: float | Decimal) -> str | int | float:
    """Return the number as JSON; as text where JSON readers would change it."""
    number = whole(value)
    if number is not None:
        return number if abs(number) <= EXACT else str(number)
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else infinite(value)
    return value if math.isfinite(value) else infinite(value)


def unicode(value: str) -> str:
    """Return the text; ValueError when it cannot be encoded."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair is not a character") from None
    return str(value)


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise refusal(value, "UTF-8 text") from None


def _boolean(value: Any, _: pl.DataType | None) -> bool:
    found = _BOOLEANS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise refusal(value, "true or false")
    return found


def _date(value: Any, _: pl.DataType | None) -> str:
    if isinstance(value, datetime):
        if value.time() != time():
            raise refusal(value, "a date without a time of day")
        return value.date().isoformat()
    if isinstance(value, date):
        return value.isoformat()
    try:
        return date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise refusal(value, "a date such as 2026-01-31") from None


def _binary(value: Any, _: pl.DataType | None) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    try:
        is_exact = base64.b64encode(base64.b64decode(value, validate=True)).decode() == value
    except (TypeError, ValueError):
        is_exact = False
    if not is_exact:
        raise refusal(value, "base64")
    return str(value)


def _list(value: Any, dtype: Any) -> list[Any]:
    tree = _parsed(value)
    if not isinstance(tree, list | tuple):
        raise refusal(value, "a list")
    return [to_wire(item, dtype.inner) for item in tree]


def _struct(value: Any, dtype: Any) -> dict[str, Any]:
    tree = _parsed(value)
    if not isinstance(tree, Mapping):
        raise refusal(value, "an object")
    fields = {field.name: field.dtype for field in dtype.fields}
    unknown = ", ".join(sorted(map(str, tree.keys() - fields.keys())))
    if unknown:
        raise ValueError(f"an object with {shown(unknown)}, which the schema does not know")
    return {name: to_wire(item, fields[name]) for name, item in tree.items()}


def _parsed(value: Any) -> Any:
    """Return the JSON value in a cell; other values as they are."""
    if not isinstance(value, Cell):
        return value
    try:
        return json.loads(value, parse_float=Literal)
    except ValueError:
        raise refusal(value, "JSON") from None


def _undeclared(value: Any, _: pl.DataType | None) -> Any:
    match value:
        case bool():
            return value
        case Literal() | int() | float() | Decimal():
            return _number(value)
        case list() | tuple():
            return [to_wire(item, None) for item in value]
        case dict():
            return {unicode(name): to_wire(item, None) for name, item in value.items()}
        case _:
            return _other(value)


def _number(value: Any) -> int | float | None:
    if isinstance(value, int):
        return value
    number = whole(value) if isinstance(value, Decimal) else None
    return real(value, None) if number is None else number


def _other(value: Any) -> Any:
    try:
        return _text(value, None)
    except ValueError as error:
        if isinstance(value, str | bytes):
            raise
        raise ValueError(f"{type(value).__name__} {error}") from None


_MAKERS: Mapping[Any, Callable[[Any, pl.DataType | None], Any]] = {
    pl.Int64: integer,
    pl.Float64: real,
    pl.Float32: real32,
    pl.String: _text,
    pl.Boolean: _boolean,
    pl.Date: _date,
    pl.Decimal: decimal,
    pl.Binary: _binary,
    pl.List: _list,
    pl.Struct: _struct,
}
