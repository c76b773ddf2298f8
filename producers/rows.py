"""Events from a file of one record type, or from the three tables of a database."""

import json
import math
import random
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from polars.exceptions import PolarsError

from core.errors import ConfigError
from producers.event import FIELDS, KEY, Event, Row

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

TABLES = {"pin": "pinterest_data", "geo": "geolocation_data", "user": "user_data"}
NUMBERS = {"index": pl.Int64, "ind": pl.Int64, "latitude": pl.Float64, "longitude": pl.Float64}
KEYS_PER_QUERY = 500


def from_file(path: Path) -> Iterator[Event]:
    """Yield one event per row of an .ndjson, .jsonl, .csv or .parquet file, in order.

    The columns are the fields of a record type and identify it. Raises ConfigError for a file that
    cannot be read; it names the row.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is no file", "name a .ndjson, .jsonl, .csv or .parquet file")
    done = 0
    try:
        for row in _rows(path):
            yield _event(row)
            done += 1
    except (OSError, ValueError, TypeError, PolarsError) as error:
        raise ConfigError(
            f"{path}, after {done} rows: {error}",
            "rows are objects with the wire's field names, a whole number as index or ind",
        ) from error


def _rows(path: Path) -> Iterator[Row]:
    match path.suffix:
        case ".ndjson" | ".jsonl":
            with path.open(encoding="utf-8") as lines:
                yield from (json.loads(line) for line in lines if line.strip())
        case ".csv":
            yield from _frames(pl.scan_csv(path, infer_schema=False, schema_overrides=NUMBERS))
        case ".parquet":
            yield from _frames(pl.scan_parquet(path))
        case other:
            raise ValueError(f"{other or 'no ending'} is none of .ndjson, .jsonl, .csv, .parquet")


def _frames(scan: pl.LazyFrame) -> Iterator[Row]:
    for frame in scan.collect_batches(maintain_order=True):
        yield from frame.iter_rows(named=True)


def _event(row: Row) -> Event:
    record = record_type(row)
    wire = {name: _wire(value) for name, value in row.items()}
    return Event(int(wire[KEY[record]]), {record: wire})


def record_type(row: Mapping[str, Any]) -> str:
    """Return the record type (pin, geo, user) whose fields `row` has; ValueError if none."""
    if not isinstance(row, dict):
        raise TypeError("not an object")
    shared = {record: len(set(fields) & set(row)) for record, fields in FIELDS.items()}
    best = max(shared, key=lambda record: shared[record])
    if KEY[best] not in row or shared[best] <= 1:
        raise ValueError(f"fields {', '.join(row)} are of no record type ({', '.join(FIELDS)})")
    return best


def _wire(value: Any) -> Any:
    """Return `value` as a JSON value; NaN and infinity become null."""
    match value:
        case date():
            return value.isoformat()
        case Decimal():
            return float(value)
        case float() if not math.isfinite(value):
            return None
        case None | str() | int() | float() | list() | dict():
            return value
        case _:
            return str(value)


def from_database(url: str, seed: int) -> Iterator[Event]:
    """Yield events without end from the tables pinterest_data, geolocation_data and user_data.

    Keys of all three tables are drawn at random with replacement, seeded; `url` is SQLAlchemy's.
    Raises ConfigError when the database or a table cannot be read, or when no key is in all three.
    """
    alchemy = _alchemy()
    try:
        yield from _drawn(alchemy.create_engine(url, poolclass=alchemy.NullPool), seed)
    except (alchemy.exc.SQLAlchemyError, ImportError) as error:
        raise ConfigError(
            f"cannot read the database: {str(error).splitlines()[0]}",
            f"it must hold the tables {', '.join(TABLES.values())}; check the URL and the driver",
        ) from error


def _alchemy() -> Any:
    try:
        import sqlalchemy  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            "reading from a database needs SQLAlchemy, which is not installed",
            "pip install 'pinpip[database]'",
        ) from error
    return sqlalchemy


def _drawn(engine: "Engine", seed: int) -> Iterator[Event]:
    rng = random.Random(seed)
    # Without an open transaction the endless reader holds no lock and reads new rows.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        tables = _tables(connection)
        keys = _keys(connection, tables)
        while True:
            yield from _fetch(connection, tables, rng.choices(keys, k=KEYS_PER_QUERY))


def _tables(connection: "Connection") -> dict[str, "Table"]:
    from sqlalchemy import MetaData, Table  # noqa: PLC0415 - an optional extra

    found = MetaData()
    return {r: Table(name, found, autoload_with=connection) for r, name in TABLES.items()}


def _keys(connection: "Connection", tables: Mapping[str, "Table"]) -> list[int]:
    from sqlalchemy import select  # noqa: PLC0415 - an optional extra

    held = [set(connection.scalars(select(t.c[KEY[r]]))) for r, t in tables.items()]
    keys = sorted(set.intersection(*held) - {None})
    if not keys:
        raise ConfigError(
            f"no key is in all of {', '.join(TABLES.values())}",
            "fill the tables; their keys are index, ind and ind",
        )
    return keys


def _fetch(
    connection: "Connection", tables: Mapping[str, "Table"], keys: list[int]
) -> Iterator[Event]:
    rows = {record: _by_key(connection, record, tables[record], keys) for record in tables}
    for key in keys:
        yield Event(key, {record: rows[record][key] for record in rows})


def _by_key(
    connection: "Connection", record: str, table: "Table", keys: list[int]
) -> dict[int, Row]:
    from sqlalchemy import select  # noqa: PLC0415 - an optional extra

    chosen = select(table).where(table.c[KEY[record]].in_(set(keys)))
    rows = connection.execute(chosen).mappings()
    return {row[KEY[record]]: {name: _wire(v) for name, v in row.items()} for row in rows}
