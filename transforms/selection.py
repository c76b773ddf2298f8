"""`where` before decoding: only the records that a pipeline takes are decoded."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl

from core.batch import CLAIMED, HEADERS, Batch, Coordinates, Records
from core.pipeline import Pipeline
from core.selection import Where
from core.topics import matches

Process = Callable[[Records], Batch]


def selecting(
    process: Process, taken: pl.Expr, others: Sequence[Pipeline], coordinates: Coordinates
) -> Process:
    """Return `process` for the records that `taken` selects; it counts those that are left out.

    `taken` is an expression on `Records.frame`, see `expression`. `others`: the pipelines that read
    the same topics or stream, to tell the records that none of them takes.
    """

    def select(records: Records) -> Batch:
        mask = records.frame.select(taken.fill_null(value=False).alias("taken")).to_series()
        out = records.frame.filter(~mask)
        claimed = out.select(*coordinates.metadata, _claimed(out, others, coordinates))
        own = records if out.is_empty() else replace(records, frame=records.frame.filter(mask))
        return replace(process(own), left_out=claimed)

    return select


def expression(where: Where, coordinates: Coordinates) -> pl.Expr:
    """Return which rows of `Records.frame` are taken: true, false, or null without such a text.

    A key is compared as its column holds it, so one that is not UTF-8 as `0x` and its bytes in hex.
    A header is compared by its bytes; of several with the name the last one counts.
    """
    if where.header_name is None:
        key = pl.col(coordinates.key)
        if where.prefix is not None:
            return key.str.starts_with(where.prefix)
        return key.is_in(where.texts)
    named = pl.element().struct.field("key") == where.header_name
    last = pl.col(HEADERS).list.filter(named).list.last().struct.field("value")
    if where.prefix is not None:
        return last.bin.starts_with(where.prefix.encode())
    return pl.any_horizontal([last == pl.lit(text.encode()) for text in where.texts])


def _claimed(out: pl.DataFrame, others: Sequence[Pipeline], coordinates: Coordinates) -> pl.Expr:
    """Return which rows of `out` one of `others` takes."""
    sources = out[coordinates.source].unique()
    tests = [pl.lit(value=False)]
    for other in others:
        read = [s for s in sources if any(matches(name, s) for name in other.reads)]
        where = other.source.where
        own = pl.lit(value=True) if where is None else expression(where, coordinates)
        tests.append(pl.col(coordinates.source).is_in(read) & own.fill_null(value=False))
    return pl.any_horizontal(tests).alias(CLAIMED)
