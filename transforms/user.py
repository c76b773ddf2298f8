"""User records: who made a post."""

import polars as pl
from polars import selectors as cs

from transforms.schema import Schema
from transforms.text import rescue, timestamp, unread

SCHEMA = Schema(
    "user",
    "ind",
    {
        "ind": pl.Int64(),
        "first_name": pl.String(),
        "last_name": pl.String(),
        "age": pl.String(),
        "date_joined": pl.String(),
    },
)


def clean(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Make the user table: one name, the age in years, the moment of joining."""
    whole = pl.col("age").str.replace(r"^([0-9]+)\.0+$", "$1")  # a CSV file's integer with nulls
    age = whole.cast(pl.Int64(), strict=False)
    joined = timestamp(pl.col("date_joined"))
    named = pl.any_horizontal(pl.col("first_name", "last_name").is_not_null())
    name = pl.concat_str("first_name", "last_name", separator=" ", ignore_nulls=True)
    lost = {"age": unread("age", age), "date_joined": unread("date_joined", joined)}
    return rows.with_columns(rescue(lost)).select(
        "ind",
        pl.when(named).then(name).alias("user_name"),
        age.alias("age"),
        joined.alias("date_joined"),
        cs.starts_with("_"),
    )
