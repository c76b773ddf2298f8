"""Keys: one value that identifies and orders the records of a partition.

Kafka: the offset. Kinesis: `sequence.subsequence`, padded with zeros.
"""

from collections.abc import Sequence
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


def before(key: int | str, coordinates: Coordinates) -> Position:
    """Return the position at which the record with this key comes next."""
    return coordinates.before(*_parts(key, coordinates))


def after(key: int | str, coordinates: Coordinates) -> Position:
    """Return the position after the record with this key."""
    return coordinates.after(*_parts(key, coordinates))


def _parts(key: int | str, coordinates: Coordinates) -> tuple[int | str, int | None]:
    if coordinates.sub is None:
        return key, None
    number, _, sub = str(key).partition(".")
    return number, int(sub)


def counts(
    own: pl.Series | None,
    spans: Sequence[tuple[Position | None, Position]],
    coordinates: Coordinates,
) -> list[int]:
    """Return how many of the sorted keys a reader finds in each (start, end); None: at the first.

    No keys at all may be None.
    """
    if own is None:
        return [0] * len(spans)
    at_start = least(coordinates)
    starts = [at_start if s is None else of(s, coordinates) for s, _ in spans]
    ends = [of(end, coordinates) for _, end in spans]
    first, last = (
        own.search_sorted(pl.Series(at, dtype=own.dtype), side(coordinates))
        for at in (starts, ends)
    )
    return (last.cast(pl.Int64) - first.cast(pl.Int64)).to_list()
