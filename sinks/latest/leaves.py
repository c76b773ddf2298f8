"""How the latest table is laid out: files sorted by key, each with a range of keys of its own.

A step reads and writes again only the files whose ranges have keys of it. Where others wrote files
whose ranges overlap, these are one leaf until it is written again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from sinks.latest.view import View

ROWS = 100_000  # of a file at most
BYTES = 64 * 2**20  # of a file's rows in memory, about


@dataclass(frozen=True)
class Leaf:
    """Files (path, size) that hold all rows from the key `first` to before the next leaf's."""

    first: Any
    files: tuple[tuple[str, int], ...]


def leaves(files: pl.DataFrame, key: str) -> list[Leaf]:
    """Return the leaves of a table's files, in the order of their keys.

    `files` as `TableReader.files`; files without bounds of the key are one leaf with all others.
    """
    low, high = f"min.{key}", f"max.{key}"
    sizes = list(zip(files["path"], files["size_bytes"], strict=True))
    if files.is_empty():
        return []
    known = {low, high} <= set(files.columns)
    if not known or any(files.select(low, high).null_count().row(0)):
        return [Leaf(None, tuple(sizes))]
    found: list[Leaf] = []
    end: Any = None
    for path, size, first, last in sorted(
        files.select("path", "size_bytes", low, high).iter_rows(), key=lambda row: row[2:]
    ):
        if found and first <= end:
            found[-1] = Leaf(found[-1].first, (*found[-1].files, (path, size)))
        else:
            found.append(Leaf(first, ((path, size),)))
        end = last if end is None else max(end, last)
    return found


def owners(leaves: Sequence[Leaf], keys: pl.Series) -> pl.Series:
    """Return the number of the leaf of each key; keys before the first leaf are in that one."""
    if len(leaves) < 2:  # noqa: PLR2004
        return pl.zeros(len(keys), pl.Int64, eager=True)
    firsts = pl.Series([leaf.first for leaf in leaves], dtype=keys.dtype)
    found = firsts.search_sorted(keys, side="right")
    return (found.cast(pl.Int64) - 1).clip(lower_bound=0)


def cut(rows: pl.DataFrame, key: str) -> Iterator[pl.DataFrame]:
    """Yield the rows in the order of their keys, as many at a time as a file should have."""
    ordered = rows.sort(key)
    share = max(rows.estimated_size() * 1.0 / BYTES, rows.height / ROWS)
    parts = max(1, -int(-share // 1)) if rows.height else 0
    for n in range(parts):
        first, last = rows.height * n // parts, rows.height * (n + 1) // parts
        if last > first:
            yield ordered[first:last]


def bounded(view: View) -> list[str]:
    """Return the columns of which the files have bounds."""
    return list(dict.fromkeys([view.key, *view.coordinates.identity]))
