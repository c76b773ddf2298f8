"""The rows of a Delta table, by incarnation: the data files of each lie in a folder of their own.

Two incarnations of a pipeline may hold rows with the same coordinates (a topic that was deleted
and created again counts from 0 anew), so that only the folder tells whose a row is.
"""

from collections.abc import Mapping

import polars as pl

from pinpip.batch import Coordinates, Partition, Position
from sinks.reading import TableReader

FIRST = "1"
_MARK = "incarnation="

Ends = tuple[Position | None, Position | None]  # None: from the first record, to the last


def folder_of(incarnation: str) -> str:
    """Where an incarnation's files lie below the table: the first one's beside the log."""
    return "" if incarnation == FIRST else f"{_MARK}{incarnation}/"


def files(reader: TableReader, folder: str) -> pl.DataFrame:
    """The data files of one incarnation, as `TableReader.files`."""
    path = pl.col("path")
    own = path.str.starts_with(folder) if folder else ~path.str.contains(_MARK)
    return reader.files.filter(own)


def scan(reader: TableReader, folder: str) -> pl.LazyFrame:
    """The rows of one incarnation."""
    return reader.scan(files(reader, folder)["path"].to_list())


def touching(
    found: pl.DataFrame, coordinates: Coordinates, stretches: Mapping[Partition, Ends]
) -> list[str]:
    """The paths of those `files` that may hold rows of `stretches`, by their statistics."""
    may = [_may_hold(coordinates, p, *ends) for p, ends in stretches.items()]
    known = {f"{side}.{name}" for side in ("min", "max") for name in coordinates.identity}
    if may and known <= set(found.columns):
        found = found.filter(pl.any_horizontal(may))
    return found["path"].to_list() if may else []


def _may_hold(
    coordinates: Coordinates, partition: Partition, start: Position | None, end: Position | None
) -> pl.Expr:
    """Whether a file's statistics leave room for rows between the ends; without any they do."""
    dtype = coordinates.metadata[coordinates.partition]
    id_ = pl.lit(partition.id).cast(dtype)
    source = pl.lit(partition.source)
    room = [
        pl.col(f"min.{coordinates.source}") <= source,
        pl.col(f"max.{coordinates.source}") >= source,
        pl.col(f"min.{coordinates.partition}") <= id_,
        pl.col(f"max.{coordinates.partition}") >= id_,
    ]
    if start is not None:
        first = pl.lit(coordinates.column_value(start))
        room.append(pl.col(f"max.{coordinates.number}") >= first)
    if end is not None:
        last = pl.lit(coordinates.column_value(end))
        room.append(pl.col(f"min.{coordinates.number}") <= last)
    return pl.all_horizontal(expr.fill_null(value=True) for expr in room)
