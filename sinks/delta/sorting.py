"""Rows of many files in one order, with a part of them in memory at a time.

No disk is needed: the rows are read once to learn their order, and once for each part.
"""

from collections.abc import Callable, Iterator, Sequence

import polars as pl
from polars import selectors as cs

_BYTES = "__bytes"
_TEXTS = cs.string() | cs.binary()
Scan = Callable[[], Iterator[pl.DataFrame]]


def sorted_parts(scan: Scan, by: Sequence[str], most: int) -> Iterator[pl.DataFrame]:
    """Yield all rows ordered by `by`, about `most` bytes of them at a time.

    `scan` yields the same rows in the same order whenever it is called.
    """
    kept, keys, size = list[pl.DataFrame](), list[pl.DataFrame](), 0
    for batch in scan():
        size += int(batch.estimated_size())
        keys.append(batch.select(*by, _sizes(batch)))
        kept = [*kept, batch] if size <= most else []
    if kept:
        yield pl.concat(kept).sort(by)
    elif keys:
        numbers = _numbers(pl.concat(keys), by, most)
        for number in range(int(numbers.max() or 0) + 1):  # type: ignore[arg-type]
            yield _part(scan, numbers == number).sort(by)


def _sizes(batch: pl.DataFrame) -> pl.Expr:
    """Return about how many bytes each row takes: its texts, and a share of all the rest."""
    texts = [pl.col(c).bin.size() for c, t in batch.schema.items() if t == pl.Binary]
    texts += [pl.col(c).str.len_bytes() for c, t in batch.schema.items() if t == pl.String]
    rest = int(batch.select(~_TEXTS).estimated_size()) // max(batch.height, 1) + 16 * len(texts)
    return pl.sum_horizontal(pl.lit(rest), *texts).cast(pl.Int64).alias(_BYTES)


def _numbers(keys: pl.DataFrame, by: Sequence[str], most: int) -> pl.Series:
    """Return the number of the part of each row."""
    order = keys.select(pl.arg_sort_by(by)).to_series()
    sizes = keys[_BYTES].gather(order)
    numbers = ((sizes.cum_sum() - sizes) // most).rle_id()
    return numbers.gather(order.arg_sort())


def _part(scan: Scan, wanted: pl.Series) -> pl.DataFrame:
    """Scan the rows that are wanted."""
    parts, at = list[pl.DataFrame](), 0
    for batch in scan():
        parts.append(batch.filter(wanted[at : at + batch.height]))
        at += batch.height
    return pl.concat(parts)
