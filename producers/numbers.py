"""Numbers as exact JSON numbers: whole ones, floats and decimals.

Nothing is truncated: a whole float below 2^53 is the integer, and `4.7` is refused. From 2^53 on a
float may stand for another integer than the one that was meant, so it is refused as well.
"""

import json
import math
import re
import struct
from decimal import Decimal
from typing import Any

import polars as pl

EXACT = 2**53
_INT64 = range(-(2**63), 2**63)
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,4000}(?:\.[0-9]{0,4000})?(?:[eE][+-]?[0-9]{1,9})?")
_NAN = "nan"
_LARGEST = 2**106  # a decimal beyond this is not written out as an integer
_SHOWN = 60  # characters of a value in a message


class Literal(str):
    """A number with a fraction or an exponent, as it is written in a JSON text."""

    __slots__ = ()


class Cell(str):
    """A cell of a CSV file: text, of which the schema says the type."""

    __slots__ = ()


def shown(value: Any) -> str:
    """Return `value` for a message."""
    text = json.dumps(value, ensure_ascii=False, default=str) if _is_tree(value) else str(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_tree(value: Any) -> bool:
    return isinstance(value, str | bool | list | dict) and not isinstance(value, Literal)


def refusal(value: Any, what: str) -> ValueError:
    """Return the error that says which value is not `what` a field needs."""
    return ValueError(f"{shown(value)} is not {what}")


def integer(value: Any, _: pl.DataType | None) -> int | None:
    """Return `value` for an Int64 field, NaN as None; ValueError when it is no such integer."""
    if isinstance(value, str) and value.strip().lower() == _NAN:
        return None
    number = whole(value)
    if number is None:
        raise refusal(value, "a whole number")
    if number not in _INT64:
        raise refusal(value, "an integer of 64 bits")
    return number


def whole(value: Any) -> int | None:
    """Return the integer that `value` is, None for something else; ValueError from 2^53 on."""
    match value:
        case bool():
            return None
        case int():
            return value
        case Decimal():
            return _whole_decimal(value)
        case float():
            return _whole_float(value, Decimal(value)) if math.isfinite(value) else None
        case str():
            return whole_text(value.strip())
        case _:
            return None


def _whole_decimal(value: Decimal) -> int | None:
    is_small = value.is_finite() and -_LARGEST < value < _LARGEST
    return int(value) if is_small and value == value.to_integral_value() else None


def whole_text(text: str) -> int | None:
    """Return the integer that `text` is, None for something else; ValueError from 2^53 on."""
    if _INTEGER.fullmatch(text):
        return int(text)
    return _whole_float(text, Decimal(text)) if _NUMBER.fullmatch(text) else None


def _whole_float(value: float | str, number: Decimal) -> int | None:
    """Return the integer that a float, or the text of one, stands for without doubt."""
    if not -EXACT < number < EXACT:
        raise ValueError(f"{shown(value)} is a float of 2^53 or more, which may have lost digits")
    return int(number) if number == number.to_integral_value() else None


def real(value: Any, _: pl.DataType | None) -> float | int | None:
    """Return `value` for a Float64 field, NaN as None; a decimal as the nearest float.

    Raises ValueError for infinity, and for an integer that no float is.
    """
    if isinstance(value, str) and value.strip().lower() == _NAN:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > EXACT and int(float(value)) != value:
            raise ValueError(f"{shown(value)} has more digits than a float")
        return value
    number = _real_of(value)
    if number is None or not math.isfinite(number):
        raise refusal(value, "a finite number")
    return number


def real32(value: Any, dtype: pl.DataType | None) -> float | int | None:
    """Return `value` for a Float32 field as `real` does; ValueError beyond its range."""
    number = real(value, dtype)
    try:
        struct.pack("<f", number or 0)
    except OverflowError:
        raise refusal(value, "a float of 32 bits") from None
    return number


def _real_of(value: Any) -> float | None:
    if isinstance(value, str):
        text = value.strip()
        return float(text) if _NUMBER.fullmatch(text) else None
    return float(value) if isinstance(value, float | Decimal) else None


def infinite(value: Any) -> Any:
    """Refuse infinity, which JSON does not have."""
    raise refusal(value, "a finite number")


def decimal(value: Any, dtype: Any) -> str | None:
    """Return `value` for a Decimal field as text, NaN as None; ValueError when digits would go."""
    if isinstance(value, str) and value.strip().lower() == _NAN:
        return None
    text = repr(value) if isinstance(value, float) else str(value).strip()
    known = isinstance(value, int | float | Decimal | str) and not isinstance(value, bool)
    if not known or not _NUMBER.fullmatch(text):
        raise refusal(value, "a decimal number")
    number, scale, precision = Decimal(text), dtype.scale, dtype.precision or 38
    _, digits, exponent = number.normalize().as_tuple()
    if -int(exponent) > scale or len(digits) + int(exponent) > precision - scale:
        raise refusal(value, f"a decimal of {precision} digits with {scale} after the point")
    return format(number, "f")
