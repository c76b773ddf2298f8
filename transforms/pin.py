"""Pins: what a post is."""

import polars as pl
from polars import selectors as cs

from transforms.schema import Schema
from transforms.text import blank, count, rescue, unread

SCHEMA = Schema(
    "pin",
    "index",
    {
        "index": pl.Int64(),
        "unique_id": pl.String(),
        "title": pl.String(),
        "description": pl.String(),
        "poster_name": pl.String(),
        "follower_count": pl.String(),
        "tag_list": pl.String(),
        "is_image_or_video": pl.String(),
        "image_src": pl.String(),
        "downloaded": pl.String(),
        "save_location": pl.String(),
        "category": pl.String(),
    },
)

_NOBODY = "User Info Error"
_PLACEHOLDERS = [
    blank("title", "No Title Data Available", ""),
    blank(
        "description",
        "No description available Story format",
        "No description available",
        "Untitled",
    ),
    blank("poster_name", _NOBODY),
    blank("follower_count", _NOBODY),
    blank("tag_list", "N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e"),
    blank("image_src", "Image src error.", "Image src error"),
]


def clean(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Make the pin table: placeholders are null, followers are numbers, text is as it was."""
    followers = count(pl.col("follower_count")).alias("_followers")
    unread_followers = unread("follower_count", pl.col("_followers"))
    return (
        rows.with_columns(_PLACEHOLDERS)
        .with_columns(followers)
        .with_columns(rescue({"follower_count": unread_followers}))
        .select(
            pl.col("index").alias("ind"),
            "unique_id",
            "title",
            "description",
            pl.col("_followers").alias("follower_count"),
            "poster_name",
            "tag_list",
            "is_image_or_video",
            "image_src",
            pl.col("save_location").str.strip_prefix("Local save in "),
            "category",
            cs.starts_with("_") - cs.by_name("_followers"),
        )
    )
