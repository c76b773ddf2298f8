"""Values of `_rescued` that today's declaration takes, put into the columns of their rows.

The rest of the record is gone, so a value fits only where the transform makes the same column of
it whatever the other fields are: with two sets of other values, and with none. It is compared with
what the transform makes without the value, which tells the columns that depend on it. A null is
what a record without the field has: it leaves `_rescued`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from core.batch import RESCUED, Coordinates
from transforms.isolate import TransformFailed
from transforms.process import Transform, once
from transforms.record import field_values, read
from transforms.schema import Schema
from transforms.trial import samples

_ROW, _FITS, _NEW, _BEFORE, _FILLS = "__row", "__fits", "__new_", "__before_", "__fills_"
_BETWEEN = re.compile(r"[:,\s]*")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # only ends are needed
_SAMPLES = 3
_SHOWN = 120  # characters
Run = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass
class FieldCount:
    """One field: how many values get into `columns`, how many stay, and some of these."""

    converts: int = 0
    stays: int = 0
    columns: set[str] = field(default_factory=set)
    converted: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def count(self, values: Sequence[Any], fits: Sequence[bool]) -> None:
        """Count values, and keep the first few of both kinds."""
        for value, fit in zip(values, fits, strict=True):
            kept = self.converted if fit else self.left
            if len(kept) < _SAMPLES:
                kept.append(json.dumps(value, ensure_ascii=False)[:_SHOWN])
        self.converts += sum(fits)
        self.stays += len(fits) - sum(fits)

    def add(self, other: "FieldCount") -> None:
        """Add what other rows have."""
        self.converts += other.converts
        self.stays += other.stays
        self.columns |= other.columns
        self.converted = (self.converted + other.converted)[:_SAMPLES]
        self.left = (self.left + other.left)[:_SAMPLES]


@dataclass(frozen=True)
class Rehydrated:
    """The rows in their order, how many of them changed, and what became of each field."""

    rows: pl.DataFrame
    changed: int
    fields: Mapping[str, FieldCount]


class Rehydrator:
    """What a schema and a transform make of values in `_rescued`."""

    def __init__(self, schema: Schema, transform: Transform, coordinates: Coordinates) -> None:
        self._schema, self._coordinates = schema, coordinates
        self._run = once(transform, coordinates)
        whole = samples(schema)[:2]
        known = [read(json.dumps(sample).encode(), schema) for sample in whole]
        nothing: dict[str, Any] = dict.fromkeys(schema.fields)
        key = {schema.key: known[0][schema.key]}
        self._others: list[Mapping[str, Any]] = [*known, nothing | key]

    def __call__(self, rows: pl.DataFrame) -> Rehydrated:
        """Rehydrate rows of the table; those without a `_rescued` stay as they are."""
        members = [field_values(text, self._schema) for text in rows[RESCUED]]
        found: dict[str, FieldCount] = {}
        changed: set[int] = set()
        for name in self._schema.fields:
            at = [n for n, own in enumerate(members) if name in own]
            if name == self._schema.key or not at:
                continue
            values = [members[n][name].value for n in at]
            rows, fits, columns = self._put(rows, name, at, values)
            wires = [members[n][name].wire for n in at]
            fits = [fit or wire is None for fit, wire in zip(fits, wires, strict=True)]
            found[name] = FieldCount(columns=columns)
            found[name].count(wires, fits)
            taken = [n for n, fit in zip(at, fits, strict=True) if fit]
            rows = _without(rows, name, taken)
            changed |= set(taken)
        return Rehydrated(rows, len(changed), found)

    def _put(
        self, rows: pl.DataFrame, name: str, at: list[int], values: list[Any]
    ) -> tuple[pl.DataFrame, list[bool], set[str]]:
        """Return the rows with the values, which of them fit, and the columns that they are in."""
        taken = [(n, value) for n, value in zip(at, values, strict=True) if value is not None]
        index = pl.Series(_ROW, [n for n, _ in taken], pl.UInt32)
        value = pl.Series(name, [own for _, own in taken], self._schema.fields[name])
        nth = rows[index].select(pl.int_range(pl.len()).over(self._coordinates.identity))
        same = nth.to_series()  # two incarnations may have rows of the same coordinates
        numbered, fits, filled = rows.with_row_index(_ROW), set[int](), set[str]()
        for n in same.unique():
            good = self._good(numbered, index.filter(same == n), value.filter(same == n))
            if good is not None:
                columns = _filling(good)
                rows, fits, filled = (
                    _filled(rows, good, columns),
                    fits | {*good[_ROW]},
                    filled | columns,
                )
        return rows, [n in fits for n in at], filled

    def _good(self, rows: pl.DataFrame, index: pl.Series, value: pl.Series) -> pl.DataFrame | None:
        """Return what `_judged` says of the values that fit; None: the transform fails on them."""
        try:
            runs = list(self._runs(rows, index, value))
        except TransformFailed:
            return None
        columns = [c for c in runs[0][0].columns if c != _ROW]
        return _judged(rows, columns, runs).filter(_FITS)

    def _runs(
        self, rows: pl.DataFrame, index: pl.Series, value: pl.Series
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Yield what the transform makes of the value, and without it, beside other fields."""
        own = [*self._coordinates.metadata]
        places = rows[index].select(own)
        numbered = places.select(self._coordinates.identity).with_columns(index)
        nothing = pl.Series(value.name, [None] * len(value), value.dtype)
        for others in self._others:
            made = []
            for column in (value, nothing):
                fields = [
                    column if n == value.name else pl.lit(others[n], dtype=t).alias(n)
                    for n, t in self._schema.fields.items()
                ]
                given = places.with_columns(*fields, pl.lit(None, pl.String).alias(RESCUED))
                order = [*self._schema.fields, *own, RESCUED]
                out = self._run(given.select(order))
                kept = out.join(numbered, on=self._coordinates.identity, how="inner")
                made.append(kept.drop(own))
            yield made[0], made[1]


def _judged(
    rows: pl.DataFrame, columns: Sequence[str], runs: Sequence[tuple[pl.DataFrame, pl.DataFrame]]
) -> pl.DataFrame:
    """Return a row for each value: whether it `_FITS`, its columns, and which of them it fills.

    A value fits if all runs return its row, if what depends on it neither depends on the other
    fields nor has another value already, and if it fills a column.
    """
    made = runs[0][0].schema
    known = [c for c in columns if c != RESCUED and rows.schema.get(c) == made[c]]
    frame = runs[0][0].select(_ROW).join(rows.select(_ROW, *known), on=_ROW, how="inner")
    for n, (new, without) in enumerate(runs):
        for tag, found in ((f"{_NEW}{n}_", new), (f"{_BEFORE}{n}_", without)):
            named = found.rename({c: f"{tag}{c}" for c in columns})
            frame = frame.join(named, on=_ROW, how="inner")
    judged = [_column(c, len(runs), known=c in known) for c in columns]
    fills = [own.alias(f"{_FILLS}{c}") for c, (_, own) in zip(columns, judged, strict=True)]
    fine = pl.all_horizontal(own for own, _ in judged)
    some = pl.any_horizontal(own for _, own in judged)
    return frame.with_columns(*fills, (fine & some).alias(_FITS))


def _column(name: str, runs: int, *, known: bool) -> tuple[pl.Expr, pl.Expr]:
    """Return whether the column allows the value, and whether the value fills it."""
    new = [pl.col(f"{_NEW}{n}_{name}") for n in range(runs)]
    before = [pl.col(f"{_BEFORE}{n}_{name}") for n in range(runs)]
    pairs = zip(new, before, strict=True)
    depends = pl.any_horizontal(own.ne_missing(other) for own, other in pairs)
    if not known:
        return ~depends, pl.lit(value=False)
    same = pl.all_horizontal(own.eq_missing(new[0]) for own in new)
    held = pl.col(name)
    free = held.is_null() | held.eq_missing(new[0])
    return ~depends | (same & free), depends & held.is_null() & new[0].is_not_null()


def _filling(good: pl.DataFrame) -> set[str]:
    """Return the columns that get a value in any row."""
    told = [c for c in good.columns if c.startswith(_FILLS)]
    return {c.removeprefix(_FILLS) for c in told if good[c].any()}


def _filled(rows: pl.DataFrame, good: pl.DataFrame, columns: set[str]) -> pl.DataFrame:
    """Return the rows with the new values of these columns."""
    if not columns:
        return rows
    taken = good.select(
        _ROW,
        *(pl.col(f"{_FILLS}{c}") for c in columns),
        *(pl.col(f"{_NEW}0_{c}").alias(f"{_NEW}{c}") for c in columns),
    )
    joined = rows.with_row_index(_ROW).join(taken, on=_ROW, how="left", maintain_order="left")
    new = [
        pl.when(pl.col(f"{_FILLS}{c}")).then(pl.col(f"{_NEW}{c}")).otherwise(pl.col(c)).alias(c)
        for c in columns
    ]
    return joined.with_columns(new).select(rows.columns)


def _without(rows: pl.DataFrame, name: str, at: Sequence[int]) -> pl.DataFrame:
    """Return the rows without the field in the `_rescued` of some."""
    if not at:
        return rows
    texts = rows[RESCUED].to_list()
    for n in at:
        left = [text for key, text in _members(texts[n]) if key != name]
        texts[n] = f"{{{', '.join(left)}}}" if left else None
    return rows.with_columns(pl.Series(RESCUED, texts, pl.String))


def _members(text: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each member of a JSON object."""
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        name, end = _DECODER.raw_decode(text, at)
        _, end = _DECODER.raw_decode(text, _skip(text, end))
        yield name, text[at:end]
        at = _skip(text, end)


def _skip(text: str, at: int) -> int:
    """Return where the next name or value begins, or the end of the object."""
    found = _BETWEEN.match(text, at)
    return found.end() if found else at
