"""All latest rows from all rows, in the memory of a part of them.

Rows are reduced in memory until they are too many; then they are put on the local disk, sorted into
ranges of keys, and each range is reduced again. The rows on the disk are at most those of the
append table.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from sinks.latest.view import GONE, View

BUDGET = 32 * 2**20  # bytes of rows in memory, about
_SAMPLE = 100_000  # keys


def cuts(view: View, rows: pl.LazyFrame, count: int, size: int) -> pl.Series:
    """Return the keys that part `count` rows into ranges of about BUDGET bytes.

    `size`: bytes of their data files, which take several times as much in memory.
    """
    ranges = min(256, 1 + size * 6 // BUDGET)
    keys = rows.select(view.key)
    if ranges > 1:
        keys = keys.gather_every(max(1, count // _SAMPLE))
        found = keys.collect(engine="streaming")[view.key].drop_nulls().sort()
        places = [len(found) * n // ranges for n in range(1, ranges)] if len(found) else []
        return found.gather(places).unique().sort()
    return keys.head(0).collect()[view.key]


def latest(view: View, sources: Sequence[pl.LazyFrame], cuts: pl.Series) -> Iterator[pl.DataFrame]:
    """Yield the latest rows of all sources, a range of keys at a time."""
    with TemporaryDirectory(prefix="pinpip-latest-") as folder:
        held, spills = [pl.DataFrame()], 0
        for source in sources:
            for chunk in view.chunks(source):
                held.append(chunk)
                if _size(held) > BUDGET:
                    held = [view.newest(_together(held))]
                if len(cuts) and len(held) == 1 and _size(held) > BUDGET / 2:
                    _spill(view, held[0], cuts, Path(folder), spills)
                    held, spills = [pl.DataFrame()], spills + 1
        rest = _together(held)
        rest = view.newest(rest) if rest.width else rest
        if not spills:
            yield from _alive(rest)
            return
        _spill(view, rest, cuts, Path(folder), spills)
        for number in range(len(cuts) + 1):
            parts = map(pl.read_parquet, sorted(Path(folder).glob(f"{number}-*.parquet")))
            whole = pl.DataFrame()
            for part in parts:
                whole = view.newest(_together([whole, part]))
            yield from _alive(whole)


def _size(frames: Sequence[pl.DataFrame]) -> float:
    return sum(frame.estimated_size() for frame in frames)


def _together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    found = [frame for frame in frames if frame.width]
    return pl.concat(found, how="diagonal") if found else pl.DataFrame()


def _spill(view: View, rows: pl.DataFrame, cuts: pl.Series, folder: Path, spills: int) -> None:
    if rows.is_empty():
        return
    places = cuts.search_sorted(rows[view.key], side="right")
    for number in places.unique():
        part = rows.filter(places == number)
        part.write_parquet(folder / f"{number}-{spills:08d}.parquet", compression="lz4")


def _alive(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the rows that no tombstone removed, unless there are none."""
    alive = rows.remove(pl.col(GONE)).drop(GONE) if rows.width else rows
    if alive.height:
        yield alive
