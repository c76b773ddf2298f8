"""The eight questions over a small lake whose answers were worked out by hand."""

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.batch import KAFKA, KINESIS, TIMESTAMP, Coordinates
from core.errors import ConfigError
from reports.run import answers, latest, questions

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
# What the same keys said before: each of these would change several answers.
OLD_PINS: list[Row] = [(2, "quotes", "Bob", 255_000_000), (7, "art", "Eve", 1), (7, "art", "E", 2)]
OLD_GEOS: list[Row] = [(3, "Cuba", utc("2020-01-01T00:00:00")), (9, "Peru", None)]
OLD_USERS: list[Row] = [(1, "Al Won", 60, utc("2018-01-01T00:00:00"))]

BY_HAND: dict[str, tuple[list[str], list[Row]]] = {
    "Most popular category in each country": (
        ["country", "category", "category_count"],
        [
            ("Chad", "travel", 1),
            ("Cote d'Ivoire", "quotes", 1),
            ("Cuba", "art", 1),
            ("Cuba", "quotes", 1),
            ("Cuba", "travel", 1),
            ("Fiji", "art", 1),
            ("Peru", "travel", 3),
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
        ["post_year", "category", "category_count"],
        [(2018, "art", 2), (2020, "quotes", 2), (2022, "art", 1), (2022, "travel", 1)],
    ),
    "User with most followers in each country": (
        ["country", "poster_name", "follower_count"],
        [
            ("Chad", "Iva", 501),
            ("Cote d'Ivoire", "Fay", 800),
            ("Cuba", "Gus", 800),
            ("Cuba", "Hal", 800),
            ("Peru", "Bob", 300),
            ("Peru", "Cid", 300),
        ],
    ),
    "Country with the user with most followers": (
        ["country", "follower_count"],
        [("Cote d'Ivoire", 800), ("Cuba", 800)],
    ),
    "Most popular category per age group": (
        ["age_group", "category", "category_count"],
        [
            ("18-24", "art", 2),
            ("18-24", "travel", 2),
            ("25-35", "travel", 2),
            ("36-50", "art", 1),
            ("36-50", "quotes", 1),
            ("36-50", "travel", 1),
            ("50+", "art", 1),
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


def on_kinesis(table: str, rows: Sequence[Row], first: int, at: datetime = STORED) -> pl.LazyFrame:
    stream, shard = f"streaming-demo-{table}", "shardId-000000000000"
    where = [(stream, shard, f"{first + i:064d}", 0, str(row[0]), at) for i, row in enumerate(rows)]
    return stored(table, rows, where, KINESIS)


def two_routes(table: str, rows: Sequence[Row], old: Sequence[Row]) -> list[pl.LazyFrame]:
    """`rows` half by each route, twice over as true duplicates, after their `old` versions."""
    before = STORED - timedelta(seconds=1)
    return [
        on_kafka(table, rows[::2], 100),
        on_kinesis(table, [*rows[1::2], *rows[:3]], 100),
        on_kafka(table, rows, 200),
        on_kafka(table, old, 900, before),
        on_kinesis(table, old, 900, before),
    ]


@pytest.fixture(scope="module")
def tables() -> dict[str, list[pl.LazyFrame]]:
    return {
        "pin": two_routes("pin", PINS, OLD_PINS),
        "geo": two_routes("geo", GEOS, OLD_GEOS),
        "user": two_routes("user", USERS, OLD_USERS),
    }


def found(tables: dict[str, list[pl.LazyFrame]]) -> dict[str, tuple[list[str], list[Row]]]:
    return {a.title: (a.frame.columns, a.frame.rows()) for a in answers(tables)}


def test_the_answers_are_those_worked_out_by_hand(tables: dict[str, list[pl.LazyFrame]]) -> None:
    assert found(tables) == BY_HAND


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_the_machines_time_zone_moves_no_year(tables: dict[str, list[pl.LazyFrame]]) -> None:
    assert found(tables) == BY_HAND


def test_there_are_eight_questions_in_order() -> None:
    assert [q.number for q in questions()] == [1, 2, 2, 3, 3, 4, 5, 6, 7, 8]


def test_only_the_questions_asked_are_answered(tables: dict[str, list[pl.LazyFrame]]) -> None:
    assert [a.number for a in answers(tables, only={3, 6})] == [3, 3, 6]


def test_counts_and_years_are_whole_numbers(tables: dict[str, list[pl.LazyFrame]]) -> None:
    for answer in answers(tables):
        whole = [name for name in answer.frame.columns if name.endswith(("_count", "_year"))]
        for name in set(whole) - {"median_follower_count"}:
            assert answer.frame.schema[name] == pl.Int64


def test_empty_tables_have_empty_answers() -> None:
    empty = {table: [on_kafka(table, [], 0)] for table in SCHEMAS}
    assert [len(answer.frame) for answer in answers(empty)] == [0] * 10


def test_a_group_without_any_follower_count_has_no_median() -> None:
    lake = {
        "pin": [on_kafka("pin", [(1, "art", "Ann", None)], 0)],
        "geo": [on_kafka("geo", GEOS[:1], 0)],
        "user": [on_kafka("user", USERS[:1], 0)],
    }
    assert [answer.frame.rows() for answer in answers(lake, only={5, 7, 8})] == [[], [], []]


@pytest.mark.parametrize("missing", ["pin", "geo", "user"])
def test_a_missing_table_is_named(tables: dict[str, list[pl.LazyFrame]], missing: str) -> None:
    with pytest.raises(ConfigError, match=f"no table of {missing} rows") as caught:
        answers({**tables, missing: []})
    assert caught.value.hint == f"fill one first: pinpip consume {missing}"


def test_without_duckdb_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tables: dict[str, list[pl.LazyFrame]]
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError) as caught:
        answers(tables)
    assert "pinpip[report]" in caught.value.hint


def country_of(parts: Sequence[pl.LazyFrame]) -> list[str]:
    return latest(parts, ["country"]).collect()["country"].to_list()


def test_of_two_rows_of_a_key_the_later_one_counts() -> None:
    early = on_kinesis("geo", [(1, "Early", None)], 900, STORED)
    late = on_kafka("geo", [(1, "Late", None)], 0, STORED + timedelta(microseconds=1))
    assert country_of([early, late]) == country_of([late, early]) == ["Late"]


def test_of_two_rows_of_one_instant_the_higher_offset_counts() -> None:
    rows = [(1, "Nine", None), (2, "Other", None), (1, "Eleven", None)]
    assert sorted(country_of([on_kafka("geo", rows, 9)])) == ["Eleven", "Other"]


def test_of_two_rows_of_one_instant_the_higher_sequence_number_counts() -> None:
    sequence = 49_650_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000
    rows = [(1, "Lower", None), (1, "Higher", None)]
    assert country_of([on_kinesis("geo", rows, sequence)]) == ["Higher"]


versions = st.tuples(st.integers(1, 3), st.integers(0, 2), st.booleans())


@given(written=st.lists(versions, min_size=1, max_size=6))
def test_the_latest_rows_do_not_depend_on_the_order_of_the_tables(
    written: list[tuple[int, int, bool]],
) -> None:
    parts = [
        (on_kafka if kafka else on_kinesis)(
            "geo", [(key, f"version {i}", None)], i, STORED + timedelta(seconds=second)
        )
        for i, (key, second, kafka) in enumerate(written)
    ]
    orders = itertools.islice(itertools.permutations(parts), 8)
    seen = {tuple(sorted(latest(order, ["country"]).collect().rows())) for order in orders}
    assert len(seen) == 1
    assert [key for key, _ in seen.pop()] == sorted({key for key, _, _ in written})
