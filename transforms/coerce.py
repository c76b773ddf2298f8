"""JSON values to the wire types of a schema, exactly or not at all."""

import base64
import math
import re
import struct
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Self

import polars as pl

Coerce = Callable[[Any], Any]

_INT64 = range(-(2**63), 2**63)
_WHOLE = 2**53  # from there on, a float stands for several integers
_EXACT = 1e15
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class Mistyped(Exception):
    """A JSON value that is not of the type of its field."""


class Real(float):
    """A JSON number with a fraction or an exponent, and the `text` that it was read from."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Return the float that is nearest to the number."""
        own = super().__new__(cls, text)
        own.text = text
        return own


def coercer(dtype: Any, *, whole_floats: bool) -> Coerce:
    """Return the function from a JSON value to a value of the type `dtype`; null stays null.

    It raises Mistyped for a value of another type. `whole_floats`: see `transforms.schema.Schema`.
    """
    make = _maker(dtype, whole_floats=whole_floats)
    return lambda wire: None if wire is None else make(wire)


def _maker(dtype: Any, *, whole_floats: bool) -> Coerce:
    if isinstance(dtype, pl.Decimal):
        return _decimal(dtype.precision, dtype.scale)
    if isinstance(dtype, pl.List):
        return _list(coercer(dtype.inner, whole_floats=whole_floats))
    if isinstance(dtype, pl.Struct):
        fields = {f.name: coercer(f.dtype, whole_floats=whole_floats) for f in dtype.fields}
        return _struct(fields)
    if dtype == pl.Int64 and not whole_floats:
        return _strict_integer
    return _PLAIN[dtype.base_type()]


def _strict_integer(wire: Any) -> int:
    if isinstance(wire, int) and not isinstance(wire, bool) and wire in _INT64:
        return wire
    raise Mistyped


def _integer(wire: Any) -> int:
    """Return the integer; also of a float that is written as a whole number and stands for one."""
    if not isinstance(wire, Real):
        return _strict_integer(wire)
    if wire.is_integer() and abs(wire) < _WHOLE and _exact(wire.text) == int(wire):
        return int(wire)
    raise Mistyped


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent of many digits
        raise Mistyped from None


def _float(wire: Any) -> float:
    if isinstance(wire, bool) or not isinstance(wire, (int, float)):
        raise Mistyped
    try:
        return float(wire)
    except OverflowError:
        raise Mistyped from None


def _float32(wire: Any) -> float:
    """Return the nearest number of 32 bits; infinity is none."""
    try:
        [nearest] = struct.unpack("f", struct.pack("f", _float(wire)))
    except OverflowError:
        raise Mistyped from None
    if math.isinf(nearest):
        raise Mistyped
    return float(nearest)


def _text(wire: Any) -> str:
    """Return text as it is, and a number as the batch reader writes it."""
    if isinstance(wire, str):
        return wire
    if isinstance(wire, bool) or not isinstance(wire, (int, float)):
        raise Mistyped
    if isinstance(wire, float) and wire.is_integer() and abs(wire) < _EXACT:
        return str(int(wire))
    return str(wire)


def _boolean(wire: Any) -> bool:
    if isinstance(wire, bool):
        return wire
    raise Mistyped


def _date(wire: Any) -> date:
    if isinstance(wire, str) and _DATE.fullmatch(wire):
        try:
            return date.fromisoformat(wire)
        except ValueError:
            raise Mistyped from None
    raise Mistyped


def _binary(wire: Any) -> bytes:
    if not isinstance(wire, str):
        raise Mistyped
    try:
        value = base64.b64decode(wire, validate=True)
    except ValueError:
        raise Mistyped from None
    if base64.b64encode(value).decode() != wire:
        raise Mistyped
    return value


def _decimal(precision: int, scale: int) -> Coerce:
    """Take numbers, and text without an exponent, that need not be rounded."""
    zero = Decimal((0, (0,), -scale))

    def make(wire: Any) -> Decimal:
        if isinstance(wire, bool) or not isinstance(wire, (int, Real, str)):
            raise Mistyped
        if isinstance(wire, str) and not _DECIMAL.fullmatch(wire):
            raise Mistyped
        number = _exact(wire.text) if isinstance(wire, Real) else Decimal(wire)
        if not number:
            return zero
        sign, digits, exponent = number.as_tuple()
        shift = int(exponent) + scale
        if number.adjusted() >= precision - scale or (shift < 0 and any(digits[shift:])):
            raise Mistyped
        unscaled = digits[:shift] if shift < 0 else (*digits, *(0,) * shift)
        return Decimal((sign, unscaled, -scale))

    return make


def _list(coerce: Coerce) -> Coerce:
    def make(wire: Any) -> list[Any]:
        if not isinstance(wire, list):
            raise Mistyped
        return [coerce(item) for item in wire]

    return make


def _struct(fields: Mapping[str, Coerce]) -> Coerce:
    def make(wire: Any) -> dict[str, Any]:
        if not isinstance(wire, dict) or wire.keys() - fields.keys():
            raise Mistyped
        return {name: coerce(wire.get(name)) for name, coerce in fields.items()}

    return make


_PLAIN: Mapping[Any, Coerce] = {
    pl.Int64: _integer,
    pl.Float64: _float,
    pl.Float32: _float32,
    pl.String: _text,
    pl.Boolean: _boolean,
    pl.Date: _date,
    pl.Binary: _binary,
}
