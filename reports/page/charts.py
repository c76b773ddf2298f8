"""Charts as SVG: drawn by Vega-Lite without network or script, coloured by the page's variables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.page.points import Point, Points
from reports.page.shapes import Kind, Shape
from reports.page.text import cut, exact, plain, short, width

VEGA_LITE = "6.4"
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif'
_ROW = 24  # pixels of a bar or a row of a grid
_LETTER = 6.6  # pixels of a character of 12 px, a little more than the mean
_LINE_HEIGHT = 220
_PADDING = 8
_MAX_SHARE = 0.72  # of the room that the text at a bar may take
_PALEST, _DARKEST = 0.06, 0.55  # opacity of a cell: text on it stays legible
_THEME: dict[str, Any] = {
    "background": "transparent",
    "font": _FONT,
    "aria": False,
    "padding": {"left": 2, "right": 6, "top": 4, "bottom": 2},
    "view": {"stroke": None},
    "bar": {"color": "var(--chart)"},
    "line": {"color": "var(--chart)", "strokeWidth": 2},
    "point": {"color": "var(--chart)", "filled": True, "size": 60, "opacity": 1},
    "rect": {"color": "var(--chart)"},
    "text": {"color": "currentColor", "fontSize": 12},
    "axis": {
        "labelColor": "currentColor",
        "labelFontSize": 12,
        "titleColor": "var(--muted)",
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": "var(--grid)",
        "domainColor": "var(--line)",
        "ticks": False,
        "labelPadding": 6,
        "labelLimit": 0,
    },
}


@dataclass(frozen=True)
class Size:
    """A chart's width in pixels, and how many columns its names and the texts at bars may have."""

    width: int
    names: int
    texts: int


WIDE = Size(640, 30, 44)
NARROW = Size(330, 15, 20)


def svg(shape: Shape, shown: Points, size: Size) -> str:
    """Draw the chart of these points as SVG."""
    import vl_convert  # noqa: PLC0415  an extra

    drawn = _DRAWN[shape.kind](shape, shown, size)
    spec = drawn.properties(
        width=size.width, autosize={"type": "fit-x", "contains": "padding"}
    ).to_dict()
    return str(
        vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, config=_THEME, allowed_base_urls=[])
    )


def _bars(shape: Shape, shown: Points, size: Size) -> Any:
    import altair as alt  # noqa: PLC0415  an extra

    labels = _labels(shown.order, size.names)
    rows = [
        {"by": labels[p.by], "value": p.value, "text": _text(p, size), "from": 0}
        for p in shown.points
    ]
    order = list(labels.values())
    x = alt.X(
        "value:Q",
        title=shape.unit,
        scale=alt.Scale(domain=[0, _end(rows, order, size)], nice=False),
        axis=_amounts(alt, size, rows),
    )
    y = _places(alt, order)
    base = alt.Chart(_data(rows)).encode(y=y)
    bars = base.mark_bar(height={"band": 0.72}, cornerRadiusEnd=2).encode(x=x)
    texts = base.mark_text(align="left", baseline="middle", dx=6).encode(x=x, text="text:N")
    return (bars + texts).properties(height=len(order) * _ROW)


def _line(shape: Shape, shown: Points, size: Size) -> Any:
    import altair as alt  # noqa: PLC0415  an extra

    held = {point.by: point.value for point in shown.points}
    rows = [
        {"by": year, "value": held.get(year), "text": _amount(held[year], size)}
        if year in held
        else {"by": year, "value": None, "text": ""}
        for year in shape.all
    ]
    top = max(held.values(), default=0) * 1.15 or 1
    x = alt.X(
        "by:O", title=shape.names[shape.by], sort=list(shape.all), axis=alt.Axis(labelAngle=0)
    )
    y = alt.Y(
        "value:Q",
        title=shape.unit,
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(tickCount=4, labelExpr=_COMPACT, domain=False),
    )
    base = alt.Chart(_data(rows)).encode(x=x, y=y)
    texts = base.mark_text(dy=-13).encode(text="text:N")
    halo = base.mark_text(dy=-13, stroke="var(--card)", strokeWidth=5).encode(text="text:N")
    return (base.mark_line() + base.mark_point() + halo + texts).properties(height=_LINE_HEIGHT)


def _grid(shape: Shape, shown: Points, size: Size) -> Any:
    import altair as alt  # noqa: PLC0415  an extra

    labels = _labels(shown.order, size.names)
    held = {(p.by, p.across): p.value for p in shown.points}
    rows = [_cell(name, labels[name], year, held) for name in shown.order for year in shape.all]
    x = alt.X(
        "across:O",
        title=shape.names[shape.across],
        sort=list(shape.all),
        axis=alt.Axis(labelAngle=0, orient="top", domain=False),
    )
    order = list(labels.values())
    y = _places(alt, order)
    base = alt.Chart(_data(rows)).encode(x=x, y=y)
    shade = alt.Scale(domain=_extremes(held.values()), range=[_PALEST, _DARKEST])
    cells = base.mark_rect(stroke="var(--card)", strokeWidth=2, cornerRadius=3).encode(
        fillOpacity=alt.FillOpacity("value:Q", scale=shade, legend=None)
    )
    return (cells + base.mark_text().encode(text="text:N")).properties(
        height=len(order) * (_ROW + 6)
    )


_DRAWN: Mapping[Kind, Callable[[Shape, Points, Size], Any]] = {
    "ranked": _bars,
    "groups": _bars,
    "line": _line,
    "grid": _grid,
}
_COMPACT = "replace(format(datum.value, '~s'), 'G', 'B')"


def _data(rows: Sequence[Mapping[str, object]]) -> Any:
    return {"values": list(rows)}


def _extremes(values: Iterable[float]) -> list[float]:
    held = list(values)
    low, high = min(held, default=0), max(held, default=0)
    return [low if low < high else 0, high or 1]


def _cell(
    name: str, label: str, year: str, held: Mapping[tuple[str, str], float]
) -> dict[str, object]:
    value = held.get((name, year))
    text = "-" if value is None else short(value)
    return {"by": label, "across": year, "value": value, "text": text}


def _labels(names: Sequence[str], columns: int) -> dict[str, str]:
    """Return each name as the chart shows it: short, and no two alike."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        label = stem = cut(plain(name), columns) or "(empty)"
        number = 1
        while label in taken:
            number += 1
            label = f"{stem} ({number})"
        taken.add(label)
        found[name] = label
    return found


def _amount(value: float, size: Size) -> str:
    return exact(value) if size is WIDE else short(value)


def _text(point: Point, size: Size) -> str:
    """Return the text at a bar: its value, and who has it."""
    amount = _amount(point.value, size)
    if not point.winners:
        return amount
    return cut(f"{amount}  {', '.join(point.winners)}", size.texts)


def _end(rows: Sequence[Mapping[str, Any]], order: Sequence[str], size: Size) -> float:
    """Return where the axis ends, so that each bar's text has room behind it."""
    room = size.width - max(map(width, order), default=0) * _LETTER - 3 * _PADDING
    ends = [
        row["value"] / (1 - min(_MAX_SHARE, (width(row["text"]) * _LETTER + 12) / room))
        for row in rows
    ]
    return max(ends, default=0) or 1


def _amounts(alt: Any, size: Size, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return an axis of numbers with a few ticks, whole ones where all values are small."""
    most = max((row["value"] for row in rows), default=0)
    ticks = 4 if size is WIDE else 2
    least = 1 if most >= 1 else 0.1
    return alt.Axis(
        tickCount=ticks,
        tickMinStep=least,
        labelExpr=_COMPACT,
        labelFlush=False,
        domain=False,
        grid=False,
    )


def _places(alt: Any, names: Sequence[str]) -> Any:
    """Return the axis of bars or rows; its room is for the widest usual font."""
    extent = max(map(width, names), default=0) * _LETTER + _PADDING
    axis = alt.Axis(domain=False, labelPadding=_PADDING, minExtent=extent)
    return alt.Y("by:N", title=None, sort=names, scale=alt.Scale(domain=names), axis=axis)
