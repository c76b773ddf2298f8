"""What a chart shows of an answer: the table's own values, fewer of them where there are many."""

from collections import defaultdict
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
    """What a chart shows: the places in `order`, of `total` that the answer has."""

    points: Sequence[Point]
    order: Sequence[str]
    total: int

    @property
    def is_cut(self) -> bool:
        """Whether the answer has more than the chart shows."""
        return len(self.order) < self.total


def points(shape: Shape, frame: pl.DataFrame) -> Points:
    """Return what the chart of this shape shows; winners of a tie share a bar."""
    found = _grid(shape, frame) if shape.kind == "grid" else _bars(shape, frame)
    if shape.kind == "ranked":
        found = sorted(found, key=lambda point: -point.value)  # else in the table's order
    names = list(dict.fromkeys(point.by for point in found))
    if shape.kind == "grid":
        names = _highest_first(found) if not shape.rows else list(shape.rows)
    elif shape.kind != "ranked":
        names = list(shape.all)
    kept = names[:MOST]
    shown = [point for point in found if point.by in set(kept)]
    return Points(shown, kept, len(names))


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


def _highest_first(found: Sequence[Point]) -> list[str]:
    sums: dict[str, float] = defaultdict(float)
    for point in found:
        sums[point.by] += point.value
    return sorted(sums, key=lambda name: (-sums[name], name))
