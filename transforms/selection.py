"""`where` before decoding: only the records that a pipeline takes are decoded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from core.batch import CLAIMED, HEADERS, Batch, Coordinates, Partition, Records, Stretch
from core.pipeline import Pipeline
from core.selection import Where
from core.topics import matches

Process = Callable[[Records], Batch]
FormerTest = tuple[Where | None, Mapping[Partition, Stretch]]


def selecting(
    process: Process, taken: pl.Expr, others: Sequence[Pipeline], coordinates: Coordinates
) -> Process:
    """Return `process` for the records that `taken` selects; it counts those that are left out.

    `taken` is an expression on `Records.frame`, see `in_force`. `others`: the pipelines that read
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


def in_force(now: Where | None, former: Sequence[FormerTest], coordinates: Coordinates) -> pl.Expr:
    """Return which rows are taken: in the ranges of a `former` test by that, elsewhere by `now`."""
    taken = _taken(now, coordinates)
    for where, stretches in former:
        own = coordinates.within(stretches)
        taken = pl.when(own).then(_taken(where, coordinates)).otherwise(taken)
    return taken


def _taken(where: Where | None, coordinates: Coordinates) -> pl.Expr:
    return pl.lit(value=True) if where is None else expression(where, coordinates)


def _claimed(out: pl.DataFrame, others: Sequence[Pipeline], coordinates: Coordinates) -> pl.Expr:
    """Return which rows of `out` one of `others` takes."""
    sources = out[coordinates.source].unique()
    tests = [pl.lit(value=False)]
    for other in others:
        read = [s for s in sources if any(matches(name, s) for name in other.reads)]
        own = _taken(other.source.where, coordinates)
        tests.append(pl.col(coordinates.source).is_in(read) & own.fill_null(value=False))
    return pl.any_horizontal(tests).alias(CLAIMED)
