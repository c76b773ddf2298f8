"""The columns of a table: what types Delta holds, and what a transform's columns become.

What Delta holds in another type without loss is cast: a wider integer for an unsigned one, text for
categories, lists for arrays, UTC for other zones. Source: Delta transaction protocol, "Primitive
Types".
"""

from collections.abc import Iterator, Mapping

import polars as pl

from core.batch import TIMESTAMP
from core.dtypes import instance
from core.errors import ConfigError
from transforms import refusals

_WIDER = {
    pl.UInt8: pl.Int16(),
    pl.UInt16: pl.Int32(),
    pl.UInt32: pl.Int64(),
    pl.Float16: pl.Float32(),
    pl.Categorical: pl.String(),
    pl.Enum: pl.String(),
}
_ADVICE: dict[type[pl.DataType], str] = {
    pl.UInt64: "cast it: .cast(pl.Int64), or .cast(pl.String) for hashes",
    pl.Int128: "cast it: .cast(pl.Int64) or .cast(pl.Decimal(38, 0))",
    pl.UInt128: "cast it: .cast(pl.Int64) or .cast(pl.Decimal(38, 0))",
    pl.Time: "make it text: .dt.to_string('%H:%M:%S')",
    pl.Duration: "make it a number: .dt.total_microseconds()",
    pl.Struct: "leave it out: it has no fields",
}


class Unstorable(ValueError):
    """Delta has no such type; `advice` says what to do in the transform."""

    def __init__(self, dtype: pl.DataType, advice: str) -> None:
        super().__init__(f"Delta has no type for {dtype}")
        self.advice = advice


def stored(dtype: pl.DataType) -> pl.DataType:
    """Return the type in which a table holds a column of `dtype`; raise Unstorable if none can."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return pl.List(stored(instance(dtype.inner)))
    if isinstance(dtype, pl.Struct) and dtype.fields:
        return pl.Struct({field.name: stored(instance(field.dtype)) for field in dtype.fields})
    if isinstance(dtype, pl.Datetime):
        return _moment(dtype)
    kind = type(dtype)
    if kind in _ADVICE or isinstance(dtype, (pl.Object, pl.Unknown)):
        raise Unstorable(dtype, _ADVICE.get(kind, "cast it to a type that Delta has"))
    return _WIDER.get(kind, dtype)


def fit(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame in the types that a table holds; each of its columns has one."""
    others = {n: to for n, dtype in frame.schema.items() if (to := stored(dtype)) != dtype}
    return frame.cast(others) if others else frame  # type: ignore[arg-type]  # by name


def problems(
    name: str, columns: Mapping[str, pl.DataType], last: Mapping[str, pl.DataType]
) -> Iterator[ConfigError]:
    """Yield an error for each kind of column of the transform `name` that no table can have.

    `last`: the columns that every transform hands on.
    """
    lost = [column for column, dtype in last.items() if columns.get(column) != dtype]
    if lost:
        yield refusals.lost(name, lost)
    naive = [column for column, dtype in columns.items() if _is_naive(dtype)]
    if naive:
        yield refusals.naive(name, naive)
    for column in (c for c in columns if c not in naive):
        try:
            stored(columns[column])
        except Unstorable as error:
            yield ConfigError(f"transform {name}, column {column}: {error}", error.advice)
    yield from _doubles(name, columns)


def _doubles(name: str, columns: Mapping[str, pl.DataType]) -> Iterator[ConfigError]:
    seen: dict[str, str] = {}
    for column in columns:
        other = seen.setdefault(column.lower(), column)
        if other != column:
            yield ConfigError(
                f"transform {name} makes the columns {other} and {column}",
                "rename one: names in a Delta table do not differ by case alone",
            )


def _moment(dtype: pl.Datetime) -> pl.DataType:
    if dtype.time_zone is None:
        raise Unstorable(dtype, "say which zone it is in: .dt.replace_time_zone('UTC')")
    if dtype.time_unit == "ns":
        raise Unstorable(dtype, "Delta holds microseconds: .dt.cast_time_unit('us')")
    return TIMESTAMP


def _is_naive(dtype: pl.DataType) -> bool:
    if isinstance(dtype, (pl.List, pl.Array)):
        return _is_naive(instance(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return any(_is_naive(instance(field.dtype)) for field in dtype.fields)
    return isinstance(dtype, pl.Datetime) and dtype.time_zone is None
