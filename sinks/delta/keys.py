"""Keys: one value that identifies and orders the records of a partition.

Kafka: the offset. Kinesis: `sequence.subsequence`, padded with zeros.
"""

from typing import Literal

import polars as pl

from core.batch import Coordinates, Position

_DIGITS = 10  # of a sub-sequence


def expr(coordinates: Coordinates) -> pl.Expr:
    """Return the key of a row."""
    key = pl.col(coordinates.number)
    if coordinates.sub is None:
        return key
    sub = pl.col(coordinates.sub).cast(pl.String).str.zfill(_DIGITS)
    return pl.concat_str([key, sub], separator=".")


def dtype(coordinates: Coordinates) -> pl.DataType:
    """Return the type of a key: an offset, or text."""
    return pl.Int64() if coordinates.sub is None else pl.String()


def of(position: Position, coordinates: Coordinates) -> int | str:
    """Return the position as a key."""
    number = coordinates.column_value(position)
    return number if isinstance(number, int) else f"{number}.{position.sub:0{_DIGITS}d}"


def least(coordinates: Coordinates) -> int | str:
    """Return a key before that of every record."""
    return -1 if coordinates.sub is None else ""


def side(coordinates: Coordinates) -> Literal["left", "right"]:
    """Return where in sorted keys a position is: before the keys that a reader there reads.

    A Kafka position is the next offset, a Kinesis position the last record read.
    """
    return "left" if coordinates.sub is None else "right"
