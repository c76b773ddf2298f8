"""Draw a result as an SVG: one chart per figure, over the number of commits."""

from collections.abc import Sequence
from math import log10

from benchmarks.results import BenchmarkResult

_COLUMNS = 3
_WIDTH, _HEIGHT, _LEFT, _TOP = 300, 190, 44, 30
_STYLE = (
    "text{font:11px sans-serif;fill:#333}.t{font-weight:bold}"
    ".l{fill:none;stroke:#2563a8;stroke-width:2}.a{stroke:#bbb}.p{fill:#2563a8}"
)


def drawn(found: BenchmarkResult) -> str:
    """Draw one chart per numeric column; the first column is the horizontal axis."""
    axis, *names = [n for n, v in found.rows[0].items() if isinstance(v, (int, float))]
    ages = [float(row[axis]) for row in found.rows]
    charts = [
        _chart(n, name, ages, [float(row[name]) for row in found.rows])
        for n, name in enumerate(names)
    ]
    height = _HEIGHT * -(-len(names) // _COLUMNS)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH * _COLUMNS} {height}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *charts, "</svg>", ""])


def _chart(nth: int, name: str, ages: Sequence[float], values: Sequence[float]) -> str:
    """Draw one figure over the logarithm of the age; the vertical axis begins at 0."""
    x, y = _WIDTH * (nth % _COLUMNS), _HEIGHT * (nth // _COLUMNS)
    wide, high = _WIDTH - _LEFT - 16, _HEIGHT - _TOP - 28
    low, span = log10(ages[0]), (log10(ages[-1]) - log10(ages[0])) or 1.0
    top = max(values) * 1.1 or 1.0
    points = [
        (_LEFT + wide * (log10(age) - low) / span, _TOP + high * (1 - value / top))
        for age, value in zip(ages, values, strict=True)
    ]
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    dots = "".join(f'<circle class="p" cx="{px:.1f}" cy="{py:.1f}" r="2.5"/>' for px, py in points)
    bottom = _TOP + high
    return (
        f'<g transform="translate({x},{y})"><text class="t" x="{_LEFT}" y="18">{name}</text>'
        f'<path class="a" d="M{_LEFT},{_TOP}V{bottom}H{_LEFT + wide}" fill="none"/>'
        f'<text x="{_LEFT - 6}" y="{_TOP + 10}" text-anchor="end">{top / 1.1:.3g}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>'
        f'<text x="{_LEFT}" y="{bottom + 15}">{ages[0]:,.0f}</text>'
        f'<text x="{_LEFT + wide}" y="{bottom + 15}" text-anchor="end">{ages[-1]:,.0f}</text>'
        f'<polyline class="l" points="{line}"/>{dots}</g>'
    )
