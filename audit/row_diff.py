"""Compare stored rows with expected rows, every column included."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from audit.invariants import FindingKind
from core.batch import Coordinates, Partition
from core.errors import SinkError

MAX_EXAMPLES = 3
# Who wrote a row: an earlier version of the transform or of pinpip may have made the same.
VERSIONS = ("transform_version", "pinpip_version")
_MAX_VALUE_LENGTH = 40
# Reasons whose detail is what Python or a library said: another version of it says it otherwise.
_SAID_BY_OTHERS = ("not_json", "invalid_utf8", "transform_failed")


@dataclass(frozen=True)
class RowDifference:
    """How many rows of one partition differ in one way, with the first as examples."""

    kind: FindingKind
    partition: Partition
    rows: int
    examples: tuple[str, ...]


def compare(
    wanted: pl.DataFrame, held: pl.DataFrame, coordinates: Coordinates, name: str
) -> list[RowDifference]:
    """Compare the rows of `held` with those `wanted`, the content of every column included.

    Raises SinkError when `held`, the rows of `name`, lacks a column.
    """
    want, have = _alike(wanted, held, coordinates, name)
    if want.equals(have):
        return []
    own = coordinates.identity
    is_first = have.select(pl.struct(own).is_first_distinct()).to_series()
    once = have.filter(is_first)
    found = {
        FindingKind.MISSING: want.join(have, on=own, how="anti"),
        FindingKind.SURPLUS: once.join(want, on=own, how="anti"),
        FindingKind.DUPLICATE: have.filter(~is_first),
    }
    simple = [d for kind, rows in found.items() for d in _differences(kind, rows, coordinates)]
    return [*simple, *_changed(want.join(once, on=own, how="semi"), once, coordinates)]


def _alike(
    wanted: pl.DataFrame, held: pl.DataFrame, coordinates: Coordinates, name: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return both with the same columns and types, sorted by coordinates."""
    columns = [column for column in wanted.columns if column not in VERSIONS]
    want = _without_words(wanted.select(columns)).sort(coordinates.identity)
    if held.is_empty():
        return want, want.clear()
    absent = sorted(set(columns) - set(held.columns))
    if absent:
        raise SinkError(
            f"{name} has no columns {', '.join(absent)}",
            "compare it by the schema and transform that wrote it",
        )
    have = _without_words(held.select(columns).cast(want.schema))
    return want, have.sort(coordinates.identity)


def _without_words(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave the detail out where it is the words of others."""
    if "reason" not in rows.columns or "detail" not in rows.columns:
        return rows
    ours = ~pl.col("reason").is_in(_SAID_BY_OTHERS)
    return rows.with_columns(pl.when(ours).then(pl.col("detail")).alias("detail"))


def _changed(
    want: pl.DataFrame, held: pl.DataFrame, coordinates: Coordinates
) -> Iterator[RowDifference]:
    """Yield the rows that are in both with different content; both have the same order."""
    have = held.join(want, on=coordinates.identity, how="semi")
    unequal = pl.DataFrame([want[n].ne_missing(have[n]) for n in want.columns])
    changed = unequal.select(pl.any_horizontal(pl.all())).to_series().arg_true()
    yield from _differences(FindingKind.DIFFERENT, have[changed], coordinates, want[changed])


def _differences(
    kind: FindingKind,
    rows: pl.DataFrame,
    coordinates: Coordinates,
    wanted: pl.DataFrame | None = None,
) -> Iterator[RowDifference]:
    """Yield a difference per partition; `wanted`: the expected content of the same rows."""
    by = [coordinates.source, coordinates.partition]
    parts = rows.partition_by(by, as_dict=True)
    others = {} if wanted is None else wanted.partition_by(by, as_dict=True)
    for (source, id_), own in parts.items():
        first = own.head(MAX_EXAMPLES).to_dicts()
        other = others.get((source, id_), own).head(MAX_EXAMPLES).to_dicts()
        examples = tuple(_example(h, w, coordinates) for h, w in zip(first, other, strict=True))
        yield RowDifference(kind, Partition(str(source), str(id_)), own.height, examples)


def _example(have: dict[str, Any], want: dict[str, Any], coordinates: Coordinates) -> str:
    """Return the record's number, and the columns with their actual and expected values."""
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
    return shown if len(shown) <= _MAX_VALUE_LENGTH else f"{shown[:_MAX_VALUE_LENGTH]}…"
