"""Which data files of a Delta table may hold some rows, by their names and their statistics."""

from collections.abc import Mapping

import polars as pl

from core.batch import Coordinates, Partition, Position

COLUMN = "_incarnation"  # of whom a row is, see `sinks.delta.lives`
FIRST = "1"
_MARK = "incarnation="

Ends = tuple[Position | None, Position | None]  # None: from the first record, to the last


def folder_of(incarnation: str) -> str:
    """Where an incarnation's files lie below the table: the first one's beside the log."""
    return "" if incarnation == FIRST else f"{_MARK}{incarnation}/"


def incarnation_of(path: str) -> str:
    """The incarnation in whose folder a file lies; also of that folder itself."""
    return path.rpartition(_MARK)[2].partition("/")[0] if _MARK in path else FIRST


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
