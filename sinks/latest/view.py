"""Which row of a key is the latest: the rule that the follower, the rebuild and the tests share.

The greatest by the order column, then by the record's coordinates, then by the incarnation. A null
in the order column is less than any value. A tombstone is a row without values that wins like any
other, and then removes its key. A row whose key is null is in no view.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from core.batch import Coordinates
from core.errors import ConfigError
from sinks.delta.incarnation import COLUMN

GONE = "__gone"  # a tombstone
HELD = "__held"  # a row of the latest table
_ROW = "__row"
REASON, TOMBSTONE = "reason", "tombstone"  # of the quarantine
CHUNK = 50_000  # rows that are reduced at once


@dataclass(frozen=True)
class View:
    """The latest row per `key`, by the column `order` and the coordinates."""

    key: str
    order: str
    coordinates: Coordinates

    @property
    def ranks(self) -> list[str]:
        """The columns that decide between two rows of a key."""
        return list(dict.fromkeys([self.order, *self.coordinates.identity]))

    @property
    def narrow(self) -> list[str]:
        """The columns of the rule."""
        return list(dict.fromkeys([self.key, *self.ranks]))

    def check(self, schema: pl.Schema) -> None:
        """Raise ConfigError when rows of this schema have no such key or order."""
        for role, name in (("key", self.key), ("order", self.order)):
            if name not in schema:
                raise ConfigError(
                    f"{role}: the table has no column {name}",
                    f"it has: {', '.join(schema)}",
                )
        key, order = schema[self.key], schema[self.order]
        if not (key.is_integer() or isinstance(key, (pl.String, pl.Date, pl.Datetime))):
            raise ConfigError(
                f"key: {self.key} is {key}", "a key is an integer, text, a date or a time"
            )
        if order.is_nested() or isinstance(order, pl.Binary):
            raise ConfigError(f"order: {self.order} is {order}, which has no order", "")

    def newest(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the latest row of each key, in no order; of equal ones the held one."""
        last = [name for name in (COLUMN, HELD) if name in rows.columns]
        ranks = [*self.ranks, *last]
        kept = rows.select(*dict.fromkeys([self.key, *ranks])).with_row_index(_ROW)
        kept = kept.drop_nulls(self.key).sort(ranks, nulls_last=False, maintain_order=True)
        return rows[kept.unique(self.key, keep="last")[_ROW].sort()]

    def reduced(self, rows: pl.LazyFrame, keys: pl.DataFrame | None = None) -> pl.DataFrame:
        """Return the latest of many rows, those of `keys` only; memory as large as the result."""
        best = rows.head(0).collect()
        for chunk in self.chunks(rows):
            some = chunk if keys is None else chunk.join(keys, on=self.key, how="semi")
            if some.height:
                best = self.newest(pl.concat([best, some]))
        return best

    def chunks(self, rows: pl.LazyFrame) -> Iterable[pl.DataFrame]:
        """Yield the rows, some at a time."""
        return rows.collect_batches(chunk_size=CHUNK)

    def tombstones(self, rejected: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
        """Return the tombstones among a quarantine's rows, each as a row without values.

        The record's key is read as a value of the key column, which has its type in `schema`; what
        is not one names no row. The record's time stands for an order that is a time of the value;
        any other order of the value is null.
        """
        own, columns = self.coordinates, {}
        for name in self.narrow:
            if name in own.metadata and name != self.key:
                columns[name] = pl.col(name)
            elif name == self.order and isinstance(schema[name], pl.Datetime):
                columns[name] = pl.col("_timestamp").cast(schema[name])
            elif name == self.order:
                columns[name] = pl.lit(None, schema[name])
        key = pl.col(self.key if self.key in own.metadata else own.key)
        columns[self.key] = key.cast(schema[self.key], strict=False)
        dead = rejected.filter(pl.col(REASON) == TOMBSTONE)
        return dead.select(**columns).select(self.narrow).drop_nulls(self.key)
