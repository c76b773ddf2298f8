"""Rows as they are beside rows as they should be."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from audit.invariants import Kind
from core.batch import Coordinates, Partition
from core.errors import SinkError

EXAMPLES = 3
_RELEASE = "transform_version"  # names the release that wrote the row, maybe an older one
_LONGEST = 40


@dataclass(frozen=True)
class Difference:
    """How many rows of one partition differ in one way, and the first of them in words."""

    kind: Kind
    partition: Partition
    rows: int
    examples: tuple[str, ...]


def compare(
    wanted: pl.DataFrame, held: pl.DataFrame, coordinates: Coordinates, name: str
) -> list[Difference]:
    """How the rows of `held` differ from those `wanted`, the content of every column included.

    Raises SinkError when `held`, which is of `name`, lacks a column that is wanted.
    """
    want, have = _alike(wanted, held, coordinates, name)
    if want.equals(have):
        return []
    own = coordinates.identity
    is_first = have.select(pl.struct(own).is_first_distinct()).to_series()
    once = have.filter(is_first)
    found = {
        Kind.MISSING: want.join(have, on=own, how="anti"),
        Kind.SURPLUS: once.join(want, on=own, how="anti"),
        Kind.DUPLICATE: have.filter(~is_first),
    }
    simple = [d for kind, rows in found.items() for d in _differences(kind, rows, coordinates)]
    return [*simple, *_changed(want.join(once, on=own, how="semi"), once, coordinates)]


def _alike(
    wanted: pl.DataFrame, held: pl.DataFrame, coordinates: Coordinates, name: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both with the same columns and types, their rows in the order of their coordinates."""
    columns = [column for column in wanted.columns if column != _RELEASE]
    want = wanted.select(columns).sort(coordinates.identity)
    if held.is_empty():
        return want, want.clear()
    absent = sorted(set(columns) - set(held.columns))
    if absent:
        raise SinkError(
            f"{name} has no columns {', '.join(absent)}",
            "compare it by the schema and transform that wrote it",
        )
    return want, held.select(columns).cast(want.schema).sort(coordinates.identity)


def _changed(
    want: pl.DataFrame, held: pl.DataFrame, coordinates: Coordinates
) -> Iterator[Difference]:
    """Find rows that are in both with different content; both are in the same order."""
    have = held.join(want, on=coordinates.identity, how="semi")
    unequal = pl.DataFrame([want[n].ne_missing(have[n]) for n in want.columns])
    changed = unequal.select(pl.any_horizontal(pl.all())).to_series().arg_true()
    yield from _differences(Kind.DIFFERENT, have[changed], coordinates, want[changed])


def _differences(
    kind: Kind, rows: pl.DataFrame, coordinates: Coordinates, wanted: pl.DataFrame | None = None
) -> Iterator[Difference]:
    """One per partition; `wanted` are the same rows as they should be."""
    by = [coordinates.source, coordinates.partition]
    parts = rows.partition_by(by, as_dict=True)
    others = {} if wanted is None else wanted.partition_by(by, as_dict=True)
    for (source, id_), own in parts.items():
        first = own.head(EXAMPLES).to_dicts()
        other = others.get((source, id_), own).head(EXAMPLES).to_dicts()
        examples = tuple(_example(h, w, coordinates) for h, w in zip(first, other, strict=True))
        yield Difference(kind, Partition(str(source), str(id_)), own.height, examples)


def _example(have: dict[str, Any], want: dict[str, Any], coordinates: Coordinates) -> str:
    """Describe the record by its number, the actual content and the expected."""
    number = f"{have[coordinates.number]}"
    if coordinates.sub is not None:
        number += f".{have[coordinates.sub]}"
    changed = [
        f"{name} is {_short(have[name])}, not {_short(want[name])}"
        for name in want
        if repr(have[name]) != repr(want[name])
    ]
    return f"{number} ({'; '.join(changed)})" if changed else number


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
