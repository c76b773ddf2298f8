"""A small lake whose answers to the nine questions were worked out by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from core.batch import KAFKA, TIMESTAMP, Coordinates

SCHEMAS: dict[str, dict[str, Any]] = {
    "pin": {
        "ind": pl.Int64,
        "category": pl.String,
        "poster_name": pl.String,
        "follower_count": pl.Int64,
    },
    "geo": {"ind": pl.Int64, "country": pl.String, "timestamp": TIMESTAMP},
    "user": {"ind": pl.Int64, "user_name": pl.String, "age": pl.Int64, "date_joined": TIMESTAMP},
}


STORED = datetime(2024, 1, 1, tzinfo=UTC)


Row = tuple[Any, ...]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


PINS: list[Row] = [
    (1, "art", "Ann", 100),
    (2, "art", "Bob", 300),
    (3, "travel", "Cid", 300),
    (4, "travel", "Ann", 100),
    (5, "art", "Dee", None),
    (6, "quotes", None, 9000),
    (7, "travel", "Eve", 51),
    (8, "art", "Ann", 100),
    (9, "quotes", "Fay", 800),
    (10, None, "Gus", 800),
    (14, "travel", "Iva", 501),
    (15, "travel", "Bob", 300),
    (16, "art", "Hue", None),
    (17, "travel", "Jan", 700),
    (18, None, "Lea", 60),
    (19, None, None, 40),
    (20, None, None, 90),
    (21, None, "Hal", 800),
]


GEOS: list[Row] = [
    (1, "Peru", utc("2018-01-01T00:00:00")),
    (2, "Peru", utc("2018-12-31T23:59:59.999999")),
    (3, "Peru", utc("2018-06-01T12:00:00")),
    (4, "Peru", utc("2017-12-31T23:59:59.999999")),
    (5, "Cuba", utc("2022-12-31T23:59:59")),
    (6, "Cuba", utc("2020-05-05T05:05:05")),
    (7, "Cuba", utc("2023-01-01T00:00:00")),
    (8, None, utc("2020-01-01T00:00:00")),
    (9, "Cote d'Ivoire", utc("2020-02-02T02:02:02")),
    (10, "Cuba", utc("2020-01-01T00:00:00")),
    (11, "Chad", utc("2020-01-01T00:00:00")),
    (14, "Chad", utc("2022-06-06T06:06:06")),
    (15, "Peru", None),
    (16, "Fiji", None),
    (21, "Cuba", None),
]


USERS: list[Row] = [
    (1, "Al One", 18, utc("2015-01-01T00:00:00")),
    (2, "Al One", 18, utc("2015-01-01T00:00:00")),
    (3, "Bea Two", 24, utc("2016-01-01T00:00:00")),
    (4, "Cy Three", 25, utc("2017-12-31T23:59:59")),
    (5, "Di Four", 35, utc("2015-05-05T05:05:05")),
    (6, "Ed Five", 36, utc("2020-12-31T23:59:59")),
    (7, "Flo Six", 50, utc("2021-01-01T00:00:00")),
    (8, "Gil Seven", 51, utc("2014-12-31T23:59:59")),
    (9, "Hal Eight", 17, utc("2016-03-03T03:03:03")),
    (10, "Ida Nine", None, utc("2016-04-04T04:04:04")),
    (12, "Jo Ten", 30, utc("2019-07-07T07:07:07")),
    (13, "Al One", 19, utc("2015-01-01T00:00:00")),
    (14, "Kai", 24, utc("2016-02-02T02:02:02")),
    (15, "Lou", 35, utc("2017-02-02T02:02:02")),
    (16, "Max", 50, utc("2018-08-08T08:08:08")),
    (17, "Ned", 17, utc("2020-01-01T00:00:00")),
    (18, "Oda", 60, utc("2020-02-02T02:02:02")),
    (19, "Pia", 50, utc("2019-09-09T09:09:09")),
    (20, "Quo", 51, utc("2019-09-09T09:09:09")),
]


BY_HAND: dict[str, tuple[list[str], list[Row]]] = {
    "Coverage": (
        ["pins", "with_geo", "with_user", "outside_2018_2022"],
        [(18, 14, 17, 2)],
    ),
    "Most popular category in each country": (
        ["country", "category", "category_count", "note"],
        [
            ("Chad", "travel", 1, "1 post"),
            ("Cote d'Ivoire", "quotes", 1, "1 post"),
            ("Cuba", "art", 1, "3 tie, 1 post"),
            ("Cuba", "quotes", 1, "3 tie, 1 post"),
            ("Cuba", "travel", 1, "3 tie, 1 post"),
            ("Fiji", "art", 1, "1 post"),
            ("Peru", "travel", 3, None),
        ],
    ),
    "Posts of each category per year, 2018-2022": (
        ["post_year", "category", "category_count"],
        [
            (2018, "art", 2),
            (2018, "travel", 1),
            (2020, "quotes", 2),
            (2020, "art", 1),
            (2022, "art", 1),
            (2022, "travel", 1),
        ],
    ),
    "Most popular category per year, 2018-2022": (
        ["post_year", "category", "category_count", "note"],
        [
            (2018, "art", 2, None),
            (2020, "quotes", 2, None),
            (2022, "art", 1, "2 tie, 1 post"),
            (2022, "travel", 1, "2 tie, 1 post"),
        ],
    ),
    "User with most followers in each country": (
        ["country", "poster_name", "follower_count", "note"],
        [
            ("Chad", "Iva", 501, "1 post"),
            ("Cote d'Ivoire", "Fay", 800, "1 post"),
            ("Cuba", "Gus", 800, "2 tie"),
            ("Cuba", "Hal", 800, "2 tie"),
            ("Peru", "Bob", 300, "2 tie"),
            ("Peru", "Cid", 300, "2 tie"),
        ],
    ),
    "Country with the user with most followers": (
        ["country", "poster_name", "follower_count", "note"],
        [
            ("Cote d'Ivoire", "Fay", 800, "3 tie"),
            ("Cuba", "Gus", 800, "3 tie"),
            ("Cuba", "Hal", 800, "3 tie"),
        ],
    ),
    "Most popular category per age group": (
        ["age_group", "category", "category_count", "note"],
        [
            ("18-24", "art", 2, "2 tie"),
            ("18-24", "travel", 2, "2 tie"),
            ("25-35", "travel", 2, None),
            ("36-50", "art", 1, "3 tie, 1 post"),
            ("36-50", "quotes", 1, "3 tie, 1 post"),
            ("36-50", "travel", 1, "3 tie, 1 post"),
            ("50+", "art", 1, "1 post"),
        ],
    ),
    "Median follower count per age group": (
        ["age_group", "median_follower_count"],
        [("18-24", 300.0), ("25-35", 200.0), ("36-50", 51.0), ("50+", 90.0)],
    ),
    "Users joined per year, 2015-2020": (
        ["post_year", "number_users_joined"],
        [(2015, 3), (2016, 4), (2017, 2), (2018, 1), (2019, 3), (2020, 3)],
    ),
    "Median follower count by year joined, 2015-2020": (
        ["post_year", "median_follower_count"],
        [(2015, 200.0), (2016, 650.5), (2017, 200.0), (2019, 65.0), (2020, 700.0)],
    ),
    "Median follower count by age group and year joined, 2015-2020": (
        ["age_group", "post_year", "median_follower_count"],
        [
            ("18-24", 2015, 200.0),
            ("18-24", 2016, 400.5),
            ("25-35", 2017, 200.0),
            ("36-50", 2019, 40.0),
            ("36-50", 2020, 9000.0),
            ("50+", 2019, 90.0),
            ("50+", 2020, 60.0),
        ],
    ),
    "Median follower count by age group and year of the post, 2018-2022": (
        ["age_group", "post_year", "median_follower_count"],
        [
            ("18-24", 2018, 300.0),
            ("18-24", 2022, 501.0),
            ("36-50", 2020, 9000.0),
            ("50+", 2020, 100.0),
        ],
    ),
}


def stored(
    table: str, rows: Sequence[Row], where: Sequence[Row], kind: Coordinates
) -> pl.LazyFrame:
    """Make a clean table of `rows` with the metadata `where`, an unknown column between."""
    clean = pl.DataFrame(rows, schema=SCHEMAS[table], orient="row")
    metadata = pl.DataFrame(where, schema=dict(kind.metadata), orient="row")
    return pl.concat([clean.with_columns(_rescued=None), metadata], how="horizontal").lazy()


def on_kafka(table: str, rows: Sequence[Row], first: int, at: datetime = STORED) -> pl.LazyFrame:
    where = [(f"demo.{table}", i % 2, first + i, str(row[0]), at) for i, row in enumerate(rows)]
    return stored(table, rows, where, KAFKA)
