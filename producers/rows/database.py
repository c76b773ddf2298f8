"""Events from the three tables of a database."""

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from core.errors import ConfigError
from producers.event import KEY, Event, Row
from producers.record_type import RecordType
from producers.rows.events import Refused, wire_row
from producers.wire import to_wire

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

TABLES = {"pin": "pinterest_data", "geo": "geolocation_data", "user": "user_data"}
KEYS_PER_QUERY = 500
_FIX = "correct the row, or take it out of the table"


def from_database(url: str, seed: int, types: Mapping[str, RecordType]) -> Iterator[Event]:
    """Yield events without end from the tables pinterest_data, geolocation_data and user_data.

    Keys of all three tables are drawn at random with replacement, seeded; `url` is SQLAlchemy's,
    `types` are those of pin, geo and user. Raises ConfigError when the database or a table cannot
    be read, when no key is in all three, and for a row that cannot be sent as it is: it names the
    table, the key and the column.
    """
    alchemy = _alchemy()
    try:
        yield from _drawn(alchemy.create_engine(url, poolclass=alchemy.NullPool), seed, types)
    except (alchemy.exc.SQLAlchemyError, ImportError, ValueError, TypeError) as error:
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


def _drawn(engine: "Engine", seed: int, types: Mapping[str, RecordType]) -> Iterator[Event]:
    rng = random.Random(seed)
    # Without an open transaction the endless reader holds no lock and reads new rows.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        tables = _tables(connection)
        held = {record: _keys(connection, record, table) for record, table in tables.items()}
        keys = _in_all(held.values())
        while True:
            drawn = rng.choices(keys, k=KEYS_PER_QUERY)
            rows = {
                record: _by_key(connection, types[record], table, {held[record][k] for k in drawn})
                for record, table in tables.items()
            }
            yield from (_event(key, rows) for key in drawn)


def _event(key: int, rows: Mapping[str, Mapping[int, Row]]) -> Event:
    for record, found in rows.items():
        if key not in found:
            raise ConfigError(f"table {TABLES[record]} has lost its key {key}", "run this again")
    return Event(key, {record: found[key] for record, found in rows.items()})


def _tables(connection: "Connection") -> dict[str, "Table"]:
    from sqlalchemy import MetaData, Table  # noqa: PLC0415 - an optional extra

    found = MetaData()
    return {r: Table(name, found, autoload_with=connection) for r, name in TABLES.items()}


def _keys(connection: "Connection", record: str, table: "Table") -> dict[int, Any]:
    """Return the keys of a table, and how the database spells each: 4 may be 4.0 or '4' there."""
    from sqlalchemy import select  # noqa: PLC0415 - an optional extra

    found = connection.scalars(select(table.c[KEY[record]]))
    pairs = ((_key(spelt, record), spelt) for spelt in found)
    return {key: spelt for key, spelt in pairs if key is not None}


def _in_all(held: Iterable[Mapping[int, Any]]) -> list[int]:
    keys = sorted(set.intersection(*map(set, held)))
    if not keys:
        raise ConfigError(
            f"no key is in all of {', '.join(TABLES.values())}",
            "fill the tables; their keys are index, ind and ind",
        )
    return keys


def _key(value: Any, record: str) -> int | None:
    try:
        key: int | None = to_wire(value, pl.Int64())
    except ValueError as error:
        where = f"table {TABLES[record]}, column {KEY[record]!r}"
        raise ConfigError(f"{where}: {error}", _FIX) from error
    return key


def _by_key(
    connection: "Connection", own: RecordType, table: "Table", keys: set[Any]
) -> dict[int, Row]:
    from sqlalchemy import select  # noqa: PLC0415 - an optional extra

    found = connection.execute(select(table).where(table.c[own.key].in_(keys))).mappings()
    rows = [_wire(row, own) for row in found]
    return {row[own.key]: row for row in rows}


def _wire(row: Mapping[Any, Any], own: RecordType) -> Row:
    try:
        return wire_row({str(name): value for name, value in row.items()}, own)
    except Refused as refused:
        where = f"table {TABLES[own.name]}, key {row[own.key]}"
        raise ConfigError(f"{where}, {refused}", _FIX) from refused
