"""The nine questions over a small lake whose answers were worked out by hand."""

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batch import KAFKA, KINESIS
from core.errors import ConfigError
from reports.run import answers, latest, questions
from tests.support.report_answers import expected
from tests.support.report_tables import (
    BY_HAND,
    GEOS,
    PINS,
    SCHEMAS,
    STORED,
    USERS,
    Row,
    on_kafka,
    stored,
    utc,
)

# What the same keys said before: each of these would change several answers.
OLD_PINS: list[Row] = [(2, "quotes", "Bob", 255_000_000), (7, "art", "Eve", 1), (7, "art", "E", 2)]
OLD_GEOS: list[Row] = [(3, "Cuba", utc("2020-01-01T00:00:00")), (9, "Peru", None)]
OLD_USERS: list[Row] = [(1, "Al Won", 60, utc("2018-01-01T00:00:00"))]


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
    return {a.question.title: (a.frame.columns, a.frame.rows()) for a in answers(tables)}


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


def test_there_are_nine_questions_in_order_after_the_coverage() -> None:
    labels = ["0", "1", "2.1", "2.2", "3.1", "3.2", *"456789"]
    assert [q.label for q in questions()] == labels
    assert [q.number for q in questions()] == [int(label[0]) for label in labels]


def test_the_definitions_are_those_in_the_head_of_the_sql() -> None:
    for question in questions():
        head = question.sql.split("\nWITH")[0].split("\nSELECT")[0]
        words = head.replace("-- ", "").replace("\n", " ")
        assert words == f"{question.title} {question.definitions}"
    told = {q.label: q.definitions for q in questions()}
    assert all("50+ begins at 51" in told[label] for label in "4589")
    assert all("The median is over posts" in told[label] for label in "5789")
    assert "a person" in told["6"]


def test_only_the_questions_asked_are_answered(tables: dict[str, list[pl.LazyFrame]]) -> None:
    assert [a.question.number for a in answers(tables, only={3, 6})] == [3, 3, 6]


def test_counts_and_years_are_whole_numbers(tables: dict[str, list[pl.LazyFrame]]) -> None:
    for answer in answers(tables):
        whole = [name for name in answer.frame.columns if name.endswith(("_count", "_year"))]
        for name in set(whole) - {"median_follower_count"}:
            assert answer.frame.schema[name] == pl.Int64


def test_empty_tables_have_empty_answers() -> None:
    empty = {table: [on_kafka(table, [], 0)] for table in SCHEMAS}
    coverage, *others = answers(empty)
    assert coverage.frame.rows() == [(0, 0, 0, 0)]
    assert [len(answer.frame) for answer in others] == [0] * 11


def test_a_group_without_any_follower_count_has_no_median() -> None:
    lake = {
        "pin": [on_kafka("pin", [(1, "art", "Ann", None)], 0)],
        "geo": [on_kafka("geo", GEOS[:1], 0)],
        "user": [on_kafka("user", USERS[:1], 0)],
    }
    assert [answer.frame.rows() for answer in answers(lake, only={5, 7, 8, 9})] == [[]] * 4


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


days = st.dates(date(2014, 12, 30), date(2023, 1, 2)).map(lambda day: utc(f"{day}T12:00:00"))
keys = st.integers(1, 6)
categories = st.sampled_from([None, "art", "quotes", "diy"])
posters = st.sampled_from([None, "Ann", "Bob", "Cid"])
pins = st.tuples(keys, categories, posters, st.sampled_from([None, 0, 1, 300, 301, 2**40]))
geos = st.tuples(keys, st.sampled_from([None, "Peru", "Cuba"]), st.none() | days)
users = st.tuples(
    keys, st.sampled_from(["A", "B"]), st.none() | st.integers(17, 52), st.none() | days
)


def one_after_another(table: str, rows: Sequence[Row]) -> pl.LazyFrame:
    where = [
        (f"demo.{table}", 0, i, str(row[0]), STORED + timedelta(seconds=i))
        for i, row in enumerate(rows)
    ]
    return stored(table, rows, where, KAFKA)


@settings(max_examples=30)
@given(st.lists(pins, max_size=12), st.lists(geos, max_size=12), st.lists(users, max_size=12))
def test_the_answers_are_those_of_plain_python(
    pins: list[Row], geos: list[Row], users: list[Row]
) -> None:
    rows = {"pin": pins, "geo": geos, "user": users}
    lake = {table: [one_after_another(table, own)] for table, own in rows.items()}
    told = {a.question.name: a.frame.rows() for a in answers(lake)}
    for name, wanted in expected(pins, geos, users).items():
        [found] = [rows for full, rows in told.items() if full.startswith(f"{name}_")]
        assert found == wanted, name


def country_of(parts: Sequence[pl.LazyFrame]) -> list[str]:
    return latest(parts, ["country"])["country"].to_list()


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
    seen = {tuple(sorted(latest(order, ["country"]).rows())) for order in orders}
    assert len(seen) == 1
    assert [key for key, _ in seen.pop()] == sorted({key for key, _, _ in written})
