"""All rows of a Delta table on disk as each engine reads them, comparable row for row."""

from collections.abc import Callable, Mapping
from pathlib import Path

import duckdb
import polars as pl
from deltalake import DeltaTable
from polars import selectors as cs
from polars.testing import assert_frame_equal


def polars(table: Path) -> pl.DataFrame:
    return pl.read_delta(str(table))


def delta_rs(table: Path) -> pl.DataFrame:
    found = pl.from_arrow(DeltaTable(table).to_pyarrow_table())
    assert isinstance(found, pl.DataFrame)
    return found


def duckdb_through_arrow(table: Path) -> pl.DataFrame:
    rows = DeltaTable(table).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        found = pl.from_arrow(connection.sql("select * from rows").to_arrow_table())
    assert isinstance(found, pl.DataFrame)
    return in_utc(found)


def in_utc(rows: pl.DataFrame) -> pl.DataFrame:
    """Name the time zone of moments UTC, which an engine may name otherwise."""
    zoned = cs.datetime(time_zone="*")
    return rows.with_columns(zoned.dt.convert_time_zone("UTC"))


ENGINES: Mapping[str, Callable[[Path], pl.DataFrame]] = {
    "DuckDB": duckdb_through_arrow,
    "delta-rs": delta_rs,
}


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort the rows by topic, partition and offset."""
    return rows.sort("_topic", "_partition", "_offset")


def assert_same(what: str, found: pl.DataFrame, wanted: pl.DataFrame) -> None:
    """Assert that both have the same columns of the same types, and the same rows."""
    try:
        assert_frame_equal(in_order(found), in_order(wanted), check_exact=True)
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error
