"""Events from the tables of a database."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Float, Integer, MetaData, NullPool, Table, Text, create_engine, text

from core.errors import ConfigError
from producers.emulator import event
from producers.rows.database import from_database
from tests.support.records import TYPES

COLUMNS = {"index": Integer, "ind": Integer, "latitude": Float, "longitude": Float}


def database(path: Path, keys: range, tables: tuple[str, ...]) -> str:
    url = f"sqlite:///{path / 'source.db'}"
    for record, table in zip(("pin", "geo", "user"), tables, strict=False):
        rows = [event(1, key).rows[record] for key in keys]
        columns: list[Column[Any]] = [Column(name, COLUMNS.get(name, Text)) for name in rows[0]]
        with create_engine(url, poolclass=NullPool).begin() as connection:
            made = Table(table, MetaData(), *columns)
            made.create(connection)
            connection.execute(made.insert(), rows)
    return url


ALL = ("pinterest_data", "geolocation_data", "user_data")


def test_a_database_gives_the_three_rows_of_keys_drawn_with_replacement(tmp_path: Path) -> None:
    url = database(tmp_path, range(20), ALL)
    drawn = list(islice(from_database(url, 5, TYPES), 600))
    assert {made.key for made in drawn} == set(range(20))
    for made in drawn[:50]:
        expected = event(1, made.key).rows
        assert made.rows["pin"]["title"] == expected["pin"]["title"]
        assert made.rows["geo"] == expected["geo"]
        assert made.rows["user"]["ind"] == made.key


def test_the_same_seed_draws_the_same_rows_from_a_database(tmp_path: Path) -> None:
    url = database(tmp_path, range(50), ALL)
    keys = [[m.key for m in islice(from_database(url, seed, TYPES), 700)] for seed in (1, 1, 2)]
    assert keys[0] == keys[1] != keys[2]


def test_only_keys_that_all_three_tables_hold_are_drawn(tmp_path: Path) -> None:
    url = database(tmp_path, range(10), ALL)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("DELETE FROM geolocation_data WHERE ind < 8"))
    assert {made.key for made in islice(from_database(url, 1, TYPES), 100)} == {8, 9}


def test_times_of_a_database_become_iso_8601(tmp_path: Path) -> None:
    url = database(tmp_path, range(3), ALL)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("DROP TABLE user_data"))
        connection.execute(text("CREATE TABLE user_data (ind INTEGER, date_joined DATETIME)"))
        connection.execute(text("INSERT INTO user_data VALUES (1, '2016-05-28 21:22:35')"))
    made = next(from_database(url, 1, TYPES))
    assert made.rows["user"] == {"ind": 1, "date_joined": "2016-05-28T21:22:35"}


def test_a_database_without_the_tables_is_a_clear_error(tmp_path: Path) -> None:
    url = database(tmp_path, range(3), ALL[:2])
    with pytest.raises(ConfigError, match="user_data"):
        next(from_database(url, 1, TYPES))


def test_a_database_without_a_common_key_is_a_clear_error(tmp_path: Path) -> None:
    url = database(tmp_path, range(3), ALL)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("DELETE FROM user_data"))
    with pytest.raises(ConfigError, match="no key is in all of"):
        next(from_database(url, 1, TYPES))


@pytest.mark.parametrize("url", ["nonsense", "nosuch://u:secret@host/db"])
def test_a_database_url_that_cannot_be_used_is_a_clear_error(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot read the database") as raised:
        next(from_database(url, 1, TYPES))
    assert "secret" not in str(raised.value)


def test_whole_floats_and_nulls_of_a_database_go_exact(tmp_path: Path) -> None:
    url = database(tmp_path, range(3), ALL)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("DROP TABLE user_data"))
        connection.execute(text("CREATE TABLE user_data (ind REAL, first_name TEXT, age REAL)"))
        connection.execute(text("INSERT INTO user_data VALUES (1.0, 'Ada', 36.0), (NULL, 'B', 1)"))
    made = next(from_database(url, 1, TYPES))
    assert made.key == 1
    assert [*map(repr, made.rows["user"].values())] == ["1", "'Ada'", "36"]


@pytest.mark.parametrize(
    ("table", "change", "complaint"),
    [
        ("user", "ind = 4.7 WHERE ind = 2", "table user_data, column 'ind': 4.7 is not a whole"),
        ("user", "age = x'ff' WHERE ind = 1", "table user_data, key 1, column 'age': .*not UTF-8"),
        (
            "geo",
            "latitude = 9e999 WHERE ind = 1",
            "data, key 1, column 'latitude': inf",
        ),
    ],
)
def test_a_row_of_a_database_that_cannot_be_sent_is_named(
    tmp_path: Path, table: str, change: str, complaint: str
) -> None:
    url = database(tmp_path, range(3), ALL)
    name = {"user": "user_data", "geo": "geolocation_data"}[table]
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text(f"UPDATE {name} SET {change}"))
    with pytest.raises(ConfigError, match=complaint) as raised:
        list(islice(from_database(url, 1, TYPES), 50))
    assert raised.value.hint


def test_keys_that_are_text_are_the_integers(tmp_path: Path) -> None:
    url = database(tmp_path, range(3), ALL)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("DROP TABLE user_data"))
        connection.execute(text("CREATE TABLE user_data (ind TEXT, first_name TEXT)"))
        connection.execute(text("INSERT INTO user_data VALUES ('1.0', 'Ada'), ('2', 'Bob')"))
    names = {made.key: made.rows["user"] for made in islice(from_database(url, 1, TYPES), 99)}
    assert names == {1: {"ind": 1, "first_name": "Ada"}, 2: {"ind": 2, "first_name": "Bob"}}


def test_a_row_that_is_deleted_meanwhile_is_a_clear_error(tmp_path: Path) -> None:
    url = database(tmp_path, range(3), ALL)
    events = from_database(url, 1, TYPES)
    next(events)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("DELETE FROM user_data WHERE ind = 1"))
    with pytest.raises(ConfigError, match="table user_data has lost its key 1"):
        list(islice(events, 2000))


def test_a_time_that_the_driver_cannot_read_is_a_clear_error(tmp_path: Path) -> None:
    url = database(tmp_path, range(3), ALL)
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("DROP TABLE user_data"))
        connection.execute(text("CREATE TABLE user_data (ind INTEGER, date_joined DATETIME)"))
        connection.execute(text("INSERT INTO user_data VALUES (1, 'yesterday')"))
    with pytest.raises(ConfigError, match=r"cannot read the database: .*yesterday"):
        next(from_database(url, 1, TYPES))
