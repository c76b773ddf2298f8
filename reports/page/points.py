"""What a chart shows of an answer: the table's own values, fewer of them where there are many."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from reports.page.shapes import Shape
from reports.page.text import exact

MOST = 20  # bars, or rows of a grid


@dataclass(frozen=True)
class Point:
    """One value of a chart. `by`: its bar, year or row; `winners`: who has it; `across`: its year.

    Texts are a record's own, but for `winners`.
    """

    by: str
    value: float
    winners: Sequence[str] = ()
    across: str = ""


@dataclass(frozen=True)
class Points:
    """What a chart shows: the places in `order`, of `total` that the answer has.

    `as_high`: how many of the others have as much as the last one shown.
    """

    points: Sequence[Point]
    order: Sequence[str]
    total: int
    as_high: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether the answer has more than the chart shows."""
        return len(self.order) < self.total


def points(shape: Shape, frame: pl.DataFrame) -> Points:
    """Return what the chart of this shape shows; winners of a tie share a bar."""
    ordered = _ordered(shape, frame)
    names = ordered[shape.by].to_list()
    kept, last = names[:MOST], ordered[shape.value][MOST - 1 : MOST]
    as_high = ordered[MOST:].filter(pl.col(shape.value).is_in(last.implode())).height
    rows = frame.filter(pl.col(shape.by).cast(pl.String).is_in(kept))
    found = _grid(shape, rows) if shape.kind == "grid" else _bars(shape, rows)
    return Points(found, kept, len(names), as_high)


def _ordered(shape: Shape, frame: pl.DataFrame) -> pl.DataFrame:
    """Return all places: those of the question, or the highest first, else in the table's order."""
    fixed = shape.rows if shape.kind == "grid" else shape.all
    if fixed:
        return pl.DataFrame({shape.by: fixed, shape.value: [0.0] * len(fixed)})
    amount = pl.col(shape.value).sum() if shape.kind == "grid" else pl.col(shape.value).first()
    sums = frame.group_by(shape.by, maintain_order=True).agg(amount)
    if shape.kind == "grid":
        sums = sums.sort(shape.by)
    return sums.sort(shape.value, descending=True, maintain_order=True)


def _bars(shape: Shape, frame: pl.DataFrame) -> list[Point]:
    held: dict[str, tuple[float, list[str]]] = {}
    for row in frame.iter_rows(named=True):
        _, winners = held.setdefault(str(row[shape.by]), (row[shape.value], []))
        if shape.winner:
            winners.append(exact(row[shape.winner]))
    return [Point(by, value, tuple(winners)) for by, (value, winners) in held.items()]


def _grid(shape: Shape, frame: pl.DataFrame) -> list[Point]:
    return [
        Point(str(by), value, across=str(year))
        for by, year, value in frame.select(shape.by, shape.across, shape.value).iter_rows()
    ]
