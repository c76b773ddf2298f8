"""Answer the eight questions with DuckDB; each is a file of standard SQL in `questions/`.

The queries see three views with the latest row of each key (`ind`):
pin (ind, category, poster_name, follower_count), geo (ind, country, timestamp) and
users (ind, user_name, age, date_joined). Their timestamps are UTC without a zone: the year
of a timestamp does not depend on session settings.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import polars as pl
from polars import selectors as cs

from core.batch import KAFKA, KINESIS
from core.errors import ConfigError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

KEY = "ind"
VIEWS = {
    "pin": ("pin", ["category", "poster_name", "follower_count"]),
    "geo": ("geo", ["country", "timestamp"]),
    "users": ("user", ["user_name", "age", "date_joined"]),
}
_AGE = ["_timestamp", *KAFKA.identity, *KINESIS.identity]


@dataclass(frozen=True)
class Question:
    """One query of a question; questions 2 and 3 have two. The title is the first SQL comment."""

    number: int
    title: str
    sql: str


@dataclass(frozen=True)
class Answer:
    """The result of one query, in the query's order and with its column names."""

    number: int
    title: str
    frame: pl.DataFrame


def questions() -> list[Question]:
    """Return all queries in the order of the questions."""
    paths = sorted(files("reports").joinpath("questions").iterdir(), key=lambda path: path.name)
    return [
        Question(int(path.name[1]), sql.splitlines()[0].removeprefix("-- "), sql)
        for path in paths
        for sql in path.read_text(encoding="utf-8").strip().removesuffix(";").split(";\n\n")
    ]


def answers(
    tables: Mapping[str, Sequence[pl.LazyFrame]], only: Collection[int] | None = None
) -> list[Answer]:
    """Answer the questions numbered in `only` (all when None) from the clean tables.

    `tables`: the clean tables "pin", "geo" and "user" with their metadata columns, each as one or
    more parts (Kafka, Kinesis). Raises ConfigError when one is missing.
    """
    chosen = [q for q in questions() if only is None or q.number in only]
    with _database() as database:
        for view, (table, columns) in VIEWS.items():
            if not tables.get(table):
                raise ConfigError(
                    f"there is no table of {table} rows to report on",
                    f"fill one first: pinpip consume {table}",
                )
            database.register(view, latest(tables[table], columns).collect().to_arrow())
        return [Answer(q.number, q.title, database.sql(q.sql).pl()) for q in chosen]


def latest(parts: Sequence[pl.LazyFrame], columns: Sequence[str]) -> pl.LazyFrame:
    """Return the key and `columns` of the newest row of each key, by broker timestamp.

    Rows with equal timestamps are ordered by their coordinates: the result is deterministic.
    """
    wanted = cs.by_name(KEY, *columns) | cs.by_name(_AGE, require_all=False)
    rows = pl.concat([part.select(wanted) for part in parts], how="diagonal")
    age = cs.by_name(_AGE, require_all=False)
    newest = rows.sort(age).unique(KEY, keep="last")
    naive = cs.datetime(time_zone="*").dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return newest.select(KEY, *columns).with_columns(naive)


def _database() -> "DuckDBPyConnection":
    """Open a database in memory without access to files or network."""
    try:
        import duckdb  # noqa: PLC0415  an extra
    except ImportError as error:
        raise ConfigError(
            "reports are made with DuckDB, which is not installed",
            "install it: pip install 'pinpip[report]'",
        ) from error
    return duckdb.connect(config={"enable_external_access": "false"})
