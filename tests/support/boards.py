"""A record type of a user's own, whose key is text."""

import polars as pl

from transforms.schema import Schema

SCHEMA = Schema("board", "board", {"board": pl.String(), "pins": pl.Int64()})


def clean(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Leave the rows as they are."""
    return rows
