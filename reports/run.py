"""Answer the nine questions with DuckDB; each is a file of standard SQL in `questions/`.

The queries see three views with the latest row of each key (`ind`):
pin (ind, category, poster_name, follower_count), geo (ind, country, timestamp) and
users (ind, user_name, age, date_joined). Their timestamps are UTC without a zone: the year
of a timestamp does not depend on session settings.

The comment at the head of a file is its title and, from the second line on, its definitions.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import takewhile
from typing import TYPE_CHECKING

import polars as pl
from polars import selectors as cs

from core.errors import ConfigError
from reports.latest import ORDER, newest

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ColumnType = pl.DataType | type[pl.DataType]
KEY = "ind"
COVERAGE = 0  # the question that counts
_TIME = pl.Datetime("us", "UTC")
VIEWS: Mapping[str, tuple[str, Mapping[str, ColumnType]]] = {
    "pin": ("pin", {"category": pl.String, "poster_name": pl.String, "follower_count": pl.Int64}),
    "geo": ("geo", {"country": pl.String, "timestamp": _TIME}),
    "users": ("user", {"user_name": pl.String, "age": pl.Int64, "date_joined": _TIME}),
}
"""Each view's kind of record, and its columns beside the key."""


@dataclass(frozen=True)
class Question:
    """One query of a question, in a file `q<number>[_<part>]_….sql`; questions 2 and 3 have two.

    `definitions`: what the query's words mean, one sentence or more; empty when nothing needs it.
    """

    name: str
    title: str
    definitions: str
    sql: str

    @property
    def number(self) -> int:
        """The question's number; 0 is the coverage."""
        return int(self.name[1])

    @property
    def label(self) -> str:
        """The question's number with its part: `1`, `3.2`."""
        part = self.name.split("_")[1]
        return f"{self.number}.{part}" if part.isdecimal() else str(self.number)


@dataclass(frozen=True)
class Answer:
    """The result of one query, in the query's order and with its column names."""

    question: Question
    frame: pl.DataFrame


def questions() -> list[Question]:
    """Return all queries in the order of the questions, the coverage first."""
    paths = sorted(files("reports").joinpath("questions").iterdir(), key=lambda path: path.name)
    return [_question(path.name, path.read_text(encoding="utf-8")) for path in paths]


def _question(name: str, sql: str) -> Question:
    comment = takewhile(lambda line: line.startswith("-- "), sql.splitlines())
    title, *definitions = [line.removeprefix("-- ") for line in comment]
    return Question(name.removesuffix(".sql"), title, " ".join(definitions), sql)


def answers(
    tables: Mapping[str, Sequence[pl.LazyFrame]],
    only: Collection[int] | None = None,
    *,
    partial: bool = False,
) -> list[Answer]:
    """Answer the questions numbered in `only` (all when None) from the clean tables.

    `tables`: the clean tables "pin", "geo" and "user" with their metadata columns, each as one or
    more parts (Kafka, Kinesis). Raises ConfigError when one is missing, unless `partial` lets it be
    empty, or all are.
    """
    chosen = [q for q in questions() if only is None or q.number in only]
    with _database() as database:
        for view, (table, columns) in VIEWS.items():
            parts = tables.get(table) or _nothing(
                table, columns, given=partial and any(tables.values())
            )
            database.register(view, latest(parts, list(columns)).to_arrow())
        return [Answer(q, database.sql(q.sql).pl()) for q in chosen]


def _nothing(
    table: str, columns: Mapping[str, ColumnType], *, given: bool
) -> Sequence[pl.LazyFrame]:
    """Return a table without rows if that is `given`; ConfigError otherwise."""
    if not given:
        raise ConfigError(
            f"there is no table of {table} rows to report on",
            f"fill one first: pinpip consume {table}",
        )
    return [pl.LazyFrame(schema={KEY: pl.Int64, **columns, ORDER[0]: _TIME})]


def latest(parts: Sequence[pl.LazyFrame], columns: Sequence[str]) -> pl.DataFrame:
    """Return the key and `columns` of the newest row of each key, times without a zone."""
    wanted = cs.by_name(KEY, *columns) | cs.by_name(*ORDER, require_all=False)
    rows = pl.concat([part.select(wanted) for part in parts], how="diagonal").collect()
    naive = cs.datetime(time_zone="*").dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return rows[newest(rows.lazy(), KEY)].select(KEY, *columns).with_columns(naive)


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
