"""The rows that may become the latest of their keys: of a few changes, or of everything.

A file that was only added brings candidates. The keys of files that were replaced are computed from
the append table again. Whatever the candidates, every tombstone of their keys takes part.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from sinks.delta.scan import TableReader
from sinks.latest import rebuild
from sinks.latest.feed import Changes
from sinks.latest.view import GONE, View

MOST_AGAIN = 200_000  # keys; more are quicker built again with all others


@dataclass(frozen=True)
class Source:
    """One version of the append table, and of the quarantine that tells tombstones, if any."""

    view: View
    clean: TableReader
    rejected: TableReader | None

    @property
    def schema(self) -> pl.Schema:
        """The columns of the append table."""
        return self.clean.schema

    def dead(self, paths: list[str] | None = None) -> pl.LazyFrame:
        """Return the tombstones of some files of the quarantine, or of all."""
        if self.rejected is None:
            names = {name: self.schema[name] for name in self.view.narrow}
            return pl.LazyFrame(schema=names)
        rows = self.rejected.rows() if paths is None else self.rejected.scan(paths)
        return self.view.tombstones(rows, self.schema)

    def dead_since(self, least: object) -> pl.LazyFrame:
        """Return the tombstones that may win against a row whose order is `least` or more."""
        bound = "max._timestamp"
        if self.rejected is None or least is None or not self._is_by_time:
            return self.dead()
        files = self.rejected.files
        if bound in files.columns:
            late = pl.col(bound) >= pl.lit(least).cast(files.schema[bound])
            files = files.filter(late.fill_null(value=True))
        return self.dead(files["path"].to_list())

    @property
    def _is_by_time(self) -> bool:
        return isinstance(self.schema[self.view.order], pl.Datetime)


@dataclass(frozen=True)
class Candidates:
    """At most one row of each key, `GONE` of tombstones; the held rows of `again` are void."""

    rows: pl.DataFrame
    again: pl.DataFrame
    read: int

    @property
    def keys(self) -> pl.DataFrame:
        """Every key that may change."""
        [name] = self.again.columns
        return pl.concat([self.rows.select(name), self.again]).unique()


def changed(source: Source, clean: Changes, rejected: Changes) -> Candidates | None:
    """Return the candidates of what changed; None: too many, everything is to be built again."""
    view = source.view
    again = _keys_again(source, clean, rejected)
    if again.height > MOST_AGAIN:
        return None
    added = source.clean.scan(clean.added)
    fresh = view.reduced(added).join(again, on=view.key, how="anti")
    if again.height:
        fresh = pl.concat([fresh, view.reduced(source.clean.rows(), again)])
    fallen = view.reduced(source.dead(list(rejected.added)))
    keys = pl.concat([fresh.select(view.key), again])
    least = None if again.height else _least(fresh, view.order)
    older = view.reduced(source.dead_since(least), keys) if keys.height else fallen.head(0)
    dead = pl.concat([fallen, older])
    rows = pl.concat([_marked(fresh, gone=False), _marked(dead, gone=True)], how="diagonal")
    return Candidates(view.newest(rows), again, added.select(pl.len()).collect().item())


def everything(source: Source) -> Iterator[pl.DataFrame]:
    """Yield the latest rows of the whole append table, a range of keys at a time."""
    files, rows = source.clean.files, source.clean.rows()
    cuts = rebuild.cuts(source.view, rows, source.clean.count(), int(files["size_bytes"].sum()))
    alive = rows.with_columns(pl.lit(value=False).alias(GONE))
    dead = source.dead().with_columns(pl.lit(value=True).alias(GONE))
    return rebuild.latest(source.view, [alive, dead], cuts)


def _keys_again(source: Source, clean: Changes, rejected: Changes) -> pl.DataFrame:
    key = source.view.key
    lost = [source.clean.scan(clean.replaced), source.dead(list(rejected.replaced))]
    keys = pl.concat([rows.select(key) for rows in lost]).drop_nulls().unique()
    return keys.collect(engine="streaming")


def _least(rows: pl.DataFrame, order: str) -> object:
    """Return the least order of the rows; None when one has none, or there are no rows."""
    return None if rows[order].null_count() else rows[order].min()


def _marked(rows: pl.DataFrame, *, gone: bool) -> pl.DataFrame:
    return rows.with_columns(pl.lit(value=gone).alias(GONE))
