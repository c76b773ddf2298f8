"""One section of the page for each answer: its finding, its charts and its table, as text."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup

from reports.page import charts, svg
from reports.page.findings import finding
from reports.page.points import Points, points
from reports.page.shapes import SHAPES, Shape
from reports.page.text import counted, exact, listed
from reports.run import VIEWS, Answer

MOST_ROWS = 1000  # of an answer in the page, unless it is asked for more
_READ = re.compile(r"\b(?:FROM|JOIN) (\w+)\b")


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    is_number: bool


@dataclass(frozen=True)
class Section:
    """One answer. `rows`: what the table shows of `total`; `why`: why there is none."""

    id: str
    label: str
    title: str
    finding: str
    caption: str
    wide: Markup
    narrow: Markup
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    total: int
    why: str
    definitions: str
    sql: str

    @property
    def is_long(self) -> bool:
        """Whether the table has no room beside its chart."""
        return len(self.rows) > _BESIDE


_BESIDE = 8  # rows that a table beside its chart has at most


def section(answer: Answer, coverage: Answer, missing: Collection[str], limit: int) -> Section:
    """Return the section of an answer; `limit`: rows of its table at most, 0: all.

    `missing`: the record types that have no table.
    """
    question, shape = answer.question, SHAPES[answer.question.label]
    frame = answer.frame
    shown = points(shape, frame)
    id_ = f"q{question.label.replace('.', '-')}"
    found = finding(question.label, frame)
    caption = _caption(shape, shown)
    kept = _told(frame).head(limit or frame.height)
    return Section(
        id=id_,
        label=question.label,
        title=question.title,
        finding=found,
        caption=caption,
        wide=_drawn(shape, shown, charts.WIDE, f"{id_}-w", (question.title, found)),
        narrow=_drawn(shape, shown, charts.NARROW, f"{id_}-n", (question.title, found)),
        columns=[_column(shape, name, frame) for name in kept.columns],
        rows=[_cells(row, kept.columns) for row in kept.iter_rows()],
        total=frame.height,
        why="" if frame.height else _why(question.sql, coverage, missing),
        definitions=question.definitions,
        sql=question.sql.strip(),
    )


def _told(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave out notes where there are none."""
    noted = "note" in frame.columns and frame["note"].null_count() < frame.height
    return frame if noted else frame.drop("note", strict=False)


def _drawn(
    shape: Shape, shown: Points, size: charts.Size, name: str, words: tuple[str, str]
) -> Markup:
    if not shown.points:
        return Markup()
    title, found = words
    drawn = charts.svg(shape, shown, size)
    return Markup(svg.inlined(drawn, title, found, name))  # noqa: S704  its texts are escaped


def _caption(shape: Shape, shown: Points) -> str:
    by = shape.names[shape.by]
    across = f" and {shape.names[shape.across]}" if shape.across else ""
    told = [f"{shape.unit.capitalize()} by {by}{across}"]
    if shown.is_cut:
        told[0] += f": the {len(shown.order):,} highest of {shown.total:,}"
    if shown.as_high:
        told.append(f"{shown.as_high:,} more have as many as the last")
    if shape.kind == "grid":
        told.append("stronger is more")
    if any(len(point.winners) > 1 for point in shown.points):
        told.append("those that tie share a bar")
    if absent := [name for name in shown.order if name not in {p.by for p in shown.points}]:
        told.append(f"no rows for {listed(absent)}")
    return "; ".join(told)


def _column(shape: Shape, name: str, frame: pl.DataFrame) -> Column:
    number = frame.schema[name].is_numeric() and not name.endswith("year")
    return Column(shape.names.get(name, name.replace("_", " ")), number)


def _cells(row: Sequence[object], names: Sequence[str]) -> list[str]:
    return [exact(value, name) for value, name in zip(row, names, strict=True)]


def _why(sql: str, coverage: Answer, missing: Collection[str]) -> str:
    """Return why an answer has no rows, as far as the coverage says it."""
    needed = [VIEWS[view][0] for view in dict.fromkeys(_READ.findall(sql)) if view in VIEWS]
    gone = [kind for kind in needed if kind in missing]
    if gone:
        return f"There is no table of {gone[0]} records yet; fill one: pinpip consume {gone[0]}"
    counts = coverage.frame.row(0, named=True)
    if "pin" in needed and not counts["pins"]:
        return "The table of pin records has no rows yet."
    for kind in needed:
        if counts.get(f"with_{kind}", 1) == 0 and "pin" in needed:
            return f"None of the {counted(counts['pins'], 'pin')} has a {kind} record with its key."
    return "No record has what this question needs: see the definitions."
