"""Draw a result as an SVG: one chart per figure, over the number of commits."""

from collections.abc import Callable, Iterable, Sequence
from math import log10

from benchmarks.results import BenchmarkResult

_COLUMNS = 3
_WIDTH, _HEIGHT, _LEFT, _TOP = 300, 190, 44, 30
_MIN_WHOLE = 100  # smaller numbers have three digits
_STYLE = (
    "text{font:11px sans-serif;fill:#333}.t{font-weight:bold}"
    ".l{fill:none;stroke:#2563a8;stroke-width:2}.a{stroke:#bbb}.p{fill:#2563a8}"
)


def drawn(found: BenchmarkResult, scale: Callable[[float], float] = log10) -> str:
    """Draw one chart per numeric column; the first column is the horizontal axis, as `scale`d."""
    axis, *names = [n for n, v in found.rows[0].items() if isinstance(v, (int, float))]
    ages = [float(row[axis]) for row in found.rows]
    charts = [
        _chart(n, name, ages, [float(row[name]) for row in found.rows], scale)
        for n, name in enumerate(names)
    ]
    return _page(charts)


def bars(found: BenchmarkResult) -> str:
    """Draw one chart per numeric column, with a bar for each row, named by its first column."""
    label, *names = found.rows[0]
    labels = [str(row[label]) for row in found.rows]
    return _page(
        _bars(n, name, labels, [float(row[name]) for row in found.rows])
        for n, name in enumerate(names)
    )


def _page(charts: Iterable[str]) -> str:
    drawn = list(charts)
    height = _HEIGHT * -(-len(drawn) // _COLUMNS)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH * _COLUMNS} {height}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *drawn, "</svg>", ""])


def _bars(nth: int, name: str, labels: Sequence[str], values: Sequence[float]) -> str:
    """Draw the values as horizontal bars that begin at 0, each with its number."""
    x, y = _WIDTH * (nth % _COLUMNS), _HEIGHT * (nth // _COLUMNS)
    wide, high = _WIDTH - _LEFT - 76, (_HEIGHT - _TOP - 28) / len(values)
    top = max(values) or 1.0
    rows = [
        f'<text x="{_LEFT - 6}" y="{_TOP + high * (n + 0.5) + 4:.1f}" text-anchor="end">{label}'
        f'</text><rect class="p" x="{_LEFT}" y="{_TOP + high * n + 8:.1f}"'
        f' width="{max(1.0, wide * value / top):.1f}" height="{high - 16:.1f}"/>'
        f'<text x="{_LEFT + max(1.0, wide * value / top) + 6:.1f}"'
        f' y="{_TOP + high * (n + 0.5) + 4:.1f}">{_number(value)}</text>'
        for n, (label, value) in enumerate(zip(labels, values, strict=True))
    ]
    title = f'<text class="t" x="{_LEFT}" y="18">{name}</text>'
    return f'<g transform="translate({x},{y})">{title}{"".join(rows)}</g>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _MIN_WHOLE or value == int(value) else f"{value:.3g}"


def _chart(
    nth: int,
    name: str,
    ages: Sequence[float],
    values: Sequence[float],
    scale: Callable[[float], float],
) -> str:
    """Draw one figure over the age; the vertical axis begins at 0."""
    x, y = _WIDTH * (nth % _COLUMNS), _HEIGHT * (nth // _COLUMNS)
    wide, high = _WIDTH - _LEFT - 16, _HEIGHT - _TOP - 28
    low, span = scale(ages[0]), (scale(ages[-1]) - scale(ages[0])) or 1.0
    top = max(values) * 1.1 or 1.0
    points = [
        (_LEFT + wide * (scale(age) - low) / span, _TOP + high * (1 - value / top))
        for age, value in zip(ages, values, strict=True)
    ]
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    dots = "".join(f'<circle class="p" cx="{px:.1f}" cy="{py:.1f}" r="2.5"/>' for px, py in points)
    bottom = _TOP + high
    return (
        f'<g transform="translate({x},{y})"><text class="t" x="{_LEFT}" y="18">{name}</text>'
        f'<path class="a" d="M{_LEFT},{_TOP}V{bottom}H{_LEFT + wide}" fill="none"/>'
        f'<text x="{_LEFT - 6}" y="{_TOP + 10}" text-anchor="end">{_number(max(values))}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>'
        f'<text x="{_LEFT}" y="{bottom + 15}">{ages[0]:,.0f}</text>'
        f'<text x="{_LEFT + wide}" y="{bottom + 15}" text-anchor="end">{ages[-1]:,.0f}</text>'
        f'<polyline class="l" points="{line}"/>{dots}</g>'
    )
