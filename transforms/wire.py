"""How polars' NDJSON reader reads the wire types of a batch, and which rows it read exactly.

The reader drops unknown keys, takes the first of two equal keys, and makes null of what is not of
the type. Text takes anything, and a list has a null where an element was not of the type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

ROW = "_row"  # the number of a payload in its batch
TEXT = "_text"
_INEXACT = 2**53  # from there on, a float stands for several integers
# Text as the reader also writes arrays, objects, booleans and unusually spelt numbers.
_DOUBTFUL = (
    r"^(?:[\[{]|(?:true|false|-0|-?[0-9]{16,}"
    r"|-?[0-9]+(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+))$)"
)
_WHOLE_FLOAT = r":[ \t]*-?[0-9]{1,16}\.0+[ \t]*[,}]"
# Numbers of 17 characters or with an exponent: a float may not tell them from others.
_LONG_NUMBER = r"[:,\[][ \t]*-?(?:[0-9.]{17}|[0-9.]+[eE])"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


@dataclass(frozen=True)
class Reading:
    """One way to read lines with the reader.

    `lines`: which lines may be read so; None: all. `types`: what the reader makes of the fields.
    `values`: the fields whose types differ in the schema, null where the value does not fit.
    `exact`: whether a row with these holds all that its line says.
    """

    lines: pl.Expr | None
    types: dict[str, Any]
    values: list[pl.Expr]
    exact: pl.Expr


def readings(fields: Mapping[str, Any], key: str, *, whole_floats: bool) -> tuple[Reading, ...]:
    """Return the ways to read these fields, each for the lines that the ones before left.

    First as the schema says, then with integers as floats. None if the reader has not all types.
    """
    if not all(map(_is_readable, fields.values())):
        return ()
    types = {name: pl.Binary() if _is_coded(t) else t for name, t in fields.items()}
    values = [_value(name, dtype) for name, dtype in fields.items()]
    plain = [value for value in values if value is not None]
    exact = _exact(fields, key)
    first = Reading(None, types, plain, exact)
    floats = {name: pl.Float64() for name, dtype in fields.items() if dtype == pl.Int64}
    if not (floats and whole_floats):
        return (first,)
    text = pl.col(TEXT).str
    lines = text.contains(_WHOLE_FLOAT) & ~text.contains(_LONG_NUMBER)
    return first, Reading(lines, types | floats, [*plain, *map(_whole, floats)], exact)


def _is_coded(dtype: Any) -> bool:
    """Whether the value is a text: the reader makes Binary of text, and of nothing else."""
    return isinstance(dtype, pl.Decimal) or dtype in {pl.Date, pl.Binary}


def _is_readable(dtype: Any, depth: int = 0) -> bool:
    if isinstance(dtype, pl.List):
        return _is_readable(dtype.inner, depth + 1)
    if isinstance(dtype, pl.Struct):
        return all(_is_readable(field.dtype, depth + 1) for field in dtype.fields)
    return not (depth and _is_coded(dtype))


def _value(name: str, dtype: Any) -> pl.Expr | None:
    """Return the field's value where the reader's is not yet it."""
    text = pl.col(name).cast(pl.String())
    if isinstance(dtype, pl.Decimal):
        fraction = rf"[0-9]{{1,{dtype.scale}}}0*" if dtype.scale else "0+"
        is_exact = text.str.contains(rf"^-?[0-9]+(?:\.{fraction})?$")
        return pl.when(is_exact).then(text).cast(dtype, strict=False).alias(name)
    if dtype == pl.Date:
        day = text.str.to_date("%Y-%m-%d", strict=False)
        return pl.when(text.str.contains(_DATE) & (day.dt.year() > 0)).then(day).alias(name)
    if dtype == pl.Binary:
        return text.str.decode("base64", strict=False).alias(name)
    if dtype == pl.Float32:
        return pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name)
    return None


def _whole(name: str) -> pl.Expr:
    number = pl.col(name)
    is_whole = (number == number.round()) & (number.abs() < _INEXACT)
    return pl.when(is_whole).then(number).cast(pl.Int64()).alias(name)


def _exact(fields: Mapping[str, Any], key: str) -> pl.Expr:
    """Whether a row holds all that its line says.

    Each key of the line shows as `":`, and text can only add to their number: when they are as many
    as the fields that got a value, in objects as well, there was no other key, no second one, and
    no null.
    """
    parts = [_inside(pl.col(name), dtype) for name, dtype in fields.items()]
    doubts = [doubt for part in parts for doubt in part.doubts]
    keys = pl.col(TEXT).str.count_matches('":')
    filled = pl.sum_horizontal(pl.col(fields.keys()).is_not_null())
    members = [count for part in parts for count in part.members]
    total = filled + pl.sum_horizontal(members) if members else filled
    known = pl.col(key).is_not_null() & (filled > 1) & (keys == total)
    return known & (~pl.any_horizontal(doubts)).fill_null(value=True) if doubts else known


class _Inside(NamedTuple):
    """What is in a value: the counts of members with a value, and the reasons to doubt it."""

    members: list[pl.Expr]
    doubts: list[pl.Expr]


def _inside(value: pl.Expr, dtype: Any) -> _Inside:
    if isinstance(dtype, pl.Struct):
        return _in_struct(value, dtype)
    if isinstance(dtype, pl.List):
        return _in_list(value, dtype)
    return _Inside([], [value.str.contains(_DOUBTFUL)] if dtype == pl.String else [])


def _in_struct(value: pl.Expr, dtype: pl.Struct) -> _Inside:
    fields = [(value.struct.field(field.name), field.dtype) for field in dtype.fields]
    inner = [_inside(member, kind) for member, kind in fields]
    own = [member.is_not_null().cast(pl.UInt32()) for member, _ in fields]
    infinite = [member.is_infinite() for member, kind in fields if kind == pl.Float32]
    return _Inside(
        own + [count for part in inner for count in part.members],
        infinite + [doubt for part in inner for doubt in part.doubts],
    )


def _in_list(value: pl.Expr, dtype: pl.List) -> _Inside:
    """Doubt a list with a null: the element may have been of another type."""
    element = pl.element()
    inner = _inside(element, dtype.inner)
    doubts = [element.is_null(), *inner.doubts]
    if dtype.inner == pl.Float32:
        doubts.append(element.is_infinite())
    doubtful = value.list.eval(pl.any_horizontal(doubts)).list.any()
    members = [value.list.eval(count).list.sum() for count in inner.members]
    return _Inside(members, [doubtful.fill_null(value=False)])
