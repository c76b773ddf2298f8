"""Events from files and from a database."""

import json
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import Column, Float, Integer, MetaData, NullPool, Table, Text, create_engine, text

from core.errors import ConfigError
from producers.emulator import event
from producers.event import Event
from producers.rows import from_database, from_file

GEO = [event(1, key).rows["geo"] for key in (4, 2, 4)]
PIN = [event(1, key).rows["pin"] for key in range(30)]


def test_an_ndjson_file_gives_its_rows_unchanged_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.ndjson"
    user = event(1, 1).rows["user"] | {"age": "25", "more": [1]}
    path.write_text("\n\n".join(map(json.dumps, [user, user])), encoding="utf-8")
    assert list(from_file(path)) == [Event(1, {"user": user})] * 2


def test_a_csv_file_gives_numbers_where_the_wire_has_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pl.DataFrame(GEO).write_csv(path)
    assert list(from_file(path)) == [Event(row["ind"], {"geo": row}) for row in GEO]


def test_a_csv_file_keeps_every_text_hazard(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [row | {"downloaded": "1", "title": row["title"] + ' "\n,'} for row in PIN]
    pl.DataFrame(rows).write_csv(path)
    assert [made.rows["pin"] for made in from_file(path)] == rows


def test_a_parquet_file_gives_times_as_iso_8601_and_nan_as_null(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    times = [datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), None]
    pl.DataFrame(
        {"ind": [7, 8], "timestamp": times, "latitude": [float("nan"), 1.5], "country": "Peru"}
    ).write_parquet(path)
    first, second = (made.rows["geo"] for made in from_file(path))
    assert first["timestamp"] == "2020-01-02T03:04:05+00:00"
    assert first["latitude"] is None
    assert second == {"ind": 8, "timestamp": None, "latitude": 1.5, "country": "Peru"}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("rows.ndjson", '{"ind": 1, "country": "Peru"}\nnope', "after 1 rows"),
        ("rows.ndjson", '{"ind": null, "country": "Peru"}', "after 0 rows"),
        ("rows.ndjson", "[1]", "not an object"),
        ("rows.ndjson", '{"id": 1, "size": 2}', "of no record type"),
        ("rows.csv", "ind,country\nx,Peru\n", "after 0 rows"),
        ("rows.parquet", "not parquet", "after 0 rows"),
        ("rows.txt", "", "none of .ndjson"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, content: str, complaint: str
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=complaint) as raised:
        list(from_file(path))
    assert str(path) in raised.value.message
    assert raised.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.ndjson is no file"):
        list(from_file(tmp_path / "none.ndjson"))


TYPES = {"index": Integer, "ind": Integer, "latitude": Float, "longitude": Float}


def database(path: Path, keys: range, tables: tuple[str, ...]) -> str:
    url = f"sqlite:///{path / 'source.db'}"
    for record, table in zip(("pin", "geo", "user"), tables, strict=False):
        rows = [event(1, key).rows[record] for key in keys]
        columns: list[Column[Any]] = [Column(name, TYPES.get(name, Text)) for name in rows[0]]
        with create_engine(url, poolclass=NullPool).begin() as connection:
            made = Table(table, MetaData(), *columns)
            made.create(connection)
            connection.execute(made.insert(), rows)
    return url


ALL = ("pinterest_data", "geolocation_data", "user_data")


def test_a_database_gives_the_three_rows_of_keys_drawn_with_replacement(tmp_path: Path) -> None:
    url = database(tmp_path, range(20), ALL)
    drawn = list(islice(from_database(url, 5), 600))
    assert {made.key for made in drawn} == set(range(20))
    for made in drawn[:50]:
        expected = event(1, made.key).rows
        assert made.rows["pin"]["title"] == expected["pin"]["title"]
        assert made.rows["geo"] == expected["geo"]
        assert made.rows["user"]["ind"] == made.key


def test_the_same_seed_draws_the_same_rows_from_a_database(tmp_path: Path) -> None:
    url = database(tmp_path, range(50), ALL)
    keys = [[m.key for m in islice(from_database(url, seed), 700)] for seed in (1, 1, 2)]
    assert keys[0] == keys[1] != keys[2]


def test_only_keys_that_all_three_tables_hold_are_drawn(tmp_path: Path) -> None:
    url = database(tmp_path, range(10), ALL)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("DELETE FROM geolocation_data WHERE ind < 8"))
    assert {made.key for made in islice(from_database(url, 1), 100)} == {8, 9}


def test_times_of_a_database_become_iso_8601(tmp_path: Path) -> None:
    url = database(tmp_path, range(3), ALL)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("DROP TABLE user_data"))
        connection.execute(text("CREATE TABLE user_data (ind INTEGER, date_joined DATETIME)"))
        connection.execute(text("INSERT INTO user_data VALUES (1, '2016-05-28 21:22:35')"))
    made = next(from_database(url, 1))
    assert made.rows["user"] == {"ind": 1, "date_joined": "2016-05-28T21:22:35"}


def test_a_database_without_the_tables_is_a_clear_error(tmp_path: Path) -> None:
    url = database(tmp_path, range(3), ALL[:2])
    with pytest.raises(ConfigError, match="user_data"):
        next(from_database(url, 1))


def test_a_database_without_a_common_key_is_a_clear_error(tmp_path: Path) -> None:
    url = database(tmp_path, range(3), ALL)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("DELETE FROM user_data"))
    with pytest.raises(ConfigError, match="no key is in all of"):
        next(from_database(url, 1))


@pytest.mark.parametrize("url", ["nonsense", "nosuch://u:secret@host/db"])
def test_a_database_url_that_cannot_be_used_is_a_clear_error(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot read the database") as raised:
        next(from_database(url, 1))
    assert "secret" not in str(raised.value)
