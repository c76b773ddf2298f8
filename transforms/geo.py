"""Geo records: where and when a post was made."""

import polars as pl
from polars import selectors as cs

from transforms.schema import Schema
from transforms.text import rescue, timestamp, unread

SCHEMA = Schema(
    "geo",
    "ind",
    {
        "ind": pl.Int64(),
        "timestamp": pl.String(),
        "latitude": pl.Float64(),
        "longitude": pl.Float64(),
        "country": pl.String(),
    },
)


def clean(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Make the geo table: one point [latitude, longitude] in degrees, null unless it is valid."""
    moment = timestamp(pl.col("timestamp"))
    valid = pl.col("latitude").is_between(-90, 90) & pl.col("longitude").is_between(-180, 180)
    point = pl.when(valid).then(pl.concat_list("latitude", "longitude"))
    lost = {
        "timestamp": unread("timestamp", moment),
        "latitude": unread("latitude", point),
        "longitude": unread("longitude", point),
    }
    return rows.with_columns(rescue(lost)).select(
        "ind",
        "country",
        point.alias("coordinates"),
        moment.alias("timestamp"),
        cs.starts_with("_"),
    )
