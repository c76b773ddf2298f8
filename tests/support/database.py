"""A SQL database as `pinpip produce --from-database` reads it."""

import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path

from producers import emulator

TABLES = {"pin": "pinterest_data", "geo": "geolocation_data", "user": "user_data"}


def fill(path: Path, events: int) -> None:
    """Make the three tables in a SQLite file, with the rows of emulated events."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for record, name in TABLES.items():
            rows = [event.rows[record] for event in islice(emulator.events(1), events)]
            columns = ", ".join(f'"{column}"' for column in rows[0])
            marks = ", ".join("?" * len(rows[0]))
            connection.execute(f"CREATE TABLE {name} ({columns})")
            connection.executemany(
                f"INSERT INTO {name} VALUES ({marks})", [tuple(row.values()) for row in rows]
            )
