"""What an answer says, in a sentence computed from its rows."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import polars as pl

from reports.page.shapes import SHAPES, Shape
from reports.page.text import counted, exact, listed, plain

Row = Mapping[str, Any]
_MOST = 6  # groups that a sentence lists


def finding(label: str, frame: pl.DataFrame) -> str:
    """Return the finding of the question `label` as a sentence; empty without rows."""
    return _FINDINGS[label](SHAPES[label], frame) if frame.height else ""


def _by_country(shape: Shape, frame: pl.DataFrame) -> str:
    """Who wins most countries, and the most posts of a winner."""
    countries = frame[shape.by].n_unique()
    wins = Counter(frame.unique([shape.by, shape.winner])[shape.winner].to_list())
    most = max(wins.values())
    first = listed(plain(name) for name in sorted(wins) if wins[name] == most)
    where = f"{most:,} of {counted(countries, 'country', 'countries')}"
    top = _top(shape, frame, lambda row: f"{plain(row[shape.winner])} in {plain(row[shape.by])}")
    return f"Most often first: {first}, in {where}. Most posts: {top}."


def _top(shape: Shape, frame: pl.DataFrame, name: Callable[[Row], str]) -> str:
    """Return the highest value and who has it."""
    highest = frame.filter(pl.col(shape.value) == frame[shape.value].max())
    names = dict.fromkeys(map(name, highest.iter_rows(named=True)))
    return f"{exact(highest[shape.value][0])} ({listed(names)})"


def _users(shape: Shape, frame: pl.DataFrame) -> str:
    top = frame.filter(pl.col(shape.value) == frame[shape.value].max())
    countries, users = top[shape.by].n_unique(), top.height
    amount = f"{exact(top[shape.value][0])} followers"
    if users == 1:
        row = top.row(0, named=True)
        return f"{plain(row[shape.winner])} in {plain(row[shape.by])} has the most: {amount}."
    where = f"in {counted(countries, 'country', 'countries')}"
    return f"{users:,} users {where} share the highest count: {amount}."


def _groups(shape: Shape, frame: pl.DataFrame) -> str:
    """List the winner of each group."""
    told: dict[str, list[str]] = {}
    for row in frame.iter_rows(named=True):
        told.setdefault(str(row[shape.by]), []).append(plain(row[shape.winner]))
    counts = dict(zip(map(str, frame[shape.by]), frame[shape.value], strict=True))
    names = [f"{group}: {listed(who)} ({exact(counts[group])})" for group, who in told.items()]
    return f"{'; '.join(names[:_MOST])}."


def _highest_and_lowest(shape: Shape, frame: pl.DataFrame) -> str:
    def name(row: Row) -> str:
        own = exact(row[shape.by], shape.by)
        return f"{own}, {exact(row[shape.across], shape.across)}" if shape.across else own

    def those(value: Any) -> str:
        found: Iterable[Row] = frame.filter(pl.col(shape.value) == value).iter_rows(named=True)
        return f"{exact(value)} ({listed(map(name, found))})"

    high, low = frame[shape.value].max(), frame[shape.value].min()
    what = shape.unit
    if high == low:
        return f"{what.capitalize()}: {those(high)}."
    return f"Highest {what}: {those(high)}; lowest: {those(low)}."


def _most_posts(shape: Shape, frame: pl.DataFrame) -> str:
    """Return the largest cell and the largest sum of a category."""
    top = _top(shape, frame, lambda row: f"{plain(row[shape.by])}, {row[shape.across]}")
    sums = frame.group_by(shape.by).agg(pl.col(shape.value).sum())
    total = _top(shape, sums.sort(shape.by), lambda row: plain(row[shape.by]))
    return f"Most posts in one year: {top}. In all years together: {total}."


def _joined(shape: Shape, frame: pl.DataFrame) -> str:
    total = f"{counted(int(frame[shape.value].sum()), 'user')} joined in these years"
    return f"{total}. {_highest_and_lowest(shape, frame)}"


_FINDINGS: Mapping[str, Callable[[Shape, pl.DataFrame], str]] = {
    "1": _by_country,
    "2.1": _most_posts,
    "2.2": _groups,
    "3.1": _users,
    "3.2": _users,
    "4": _groups,
    "5": _highest_and_lowest,
    "6": _joined,
    "7": _highest_and_lowest,
    "8": _highest_and_lowest,
    "9": _highest_and_lowest,
}
