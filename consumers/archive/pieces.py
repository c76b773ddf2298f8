"""The objects of a partition in order: what each holds, by its name and by its own word."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import polars as pl

from core.batch import Partition, Position, Positions, reaches
from core.errors import SourceError


@dataclass(frozen=True)
class Piece:
    """One object with the `records` of `partition` between `start` and `end`.

    `end` has the epoch of the log, if that is known.
    """

    key: str
    partition: Partition
    start: Position
    end: Position
    records: int


Histories = Mapping[Partition, Sequence[Piece]]
# The rows of an object in slices, one at least: the columns of `core.batch.Records`. It raises
# SourceError when they are not what the piece says, best before it yields any.
Decode = Callable[[Piece, bytes], Iterator[pl.DataFrame]]


def damaged(piece: Piece, place: str, why: str) -> SourceError:
    """Return the error for an object that is not what the others say of it."""
    return SourceError(
        f"{place}/{piece.key} cannot be read: {why}",
        "restore this object from a backup and run the same command again: it goes on where it was",
    )


def ordered(histories: Histories, at: Positions) -> list[Piece]:
    """Return what readers at these positions still need: of each partition one piece in turn."""
    left = [[p for p in histories[own] if not reaches(held, p.end)] for own, held in at.items()]
    return [piece for piece in chain.from_iterable(zip_longest(*left)) if piece is not None]
