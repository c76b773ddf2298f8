"""The current view of a table: of each key the newest row.

The newest row has the latest `_timestamp`, the record's time at the broker. Of rows with equal
timestamps it has the highest coordinates: in one partition it is the later record. A keyed topic
has all records of a key in one partition: there this is the order of the log, if one clock sets the
timestamps (the broker's, or that of the key's only producer). Across partitions, topics and
incarnations only time orders records.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import polars as pl
from polars import selectors as cs

from core.batch import KAFKA, KINESIS

INCARNATION = "_incarnation"
ORDER: Final = ["_timestamp", *KAFKA.identity, *KINESIS.identity, INCARNATION]
_ROW = "__row"


def newest(rows: pl.LazyFrame, key: str) -> pl.Series:
    """Return the row numbers, ascending, of the newest row of each value of the column `key`."""
    order = cs.by_name(*ORDER, require_all=False)
    numbered = rows.select(cs.by_name(key) | order).with_row_index(_ROW)
    names = [name for name in ORDER if name in numbered.collect_schema()]
    found = pl.col(_ROW).max_by(pl.struct(*names, _ROW))
    return numbered.group_by(key).agg(found).collect(engine="streaming")[_ROW].sort()


def taken(batches: Iterable[pl.DataFrame], numbers: pl.Series) -> Iterator[pl.DataFrame]:
    """Yield those rows of the batches that have these ascending numbers."""
    start = 0
    for batch in batches:
        ends = pl.Series([start, start + batch.height], dtype=numbers.dtype)
        first, last = numbers.search_sorted(ends, side="left")
        yield batch[numbers[first:last] - start]
        if last == len(numbers):
            return
        start += batch.height
