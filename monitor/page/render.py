"""The status page as one HTML file: numbers, styles, script and chart library inside."""

import json
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from monitor.page import summary, text
from monitor.page.summary import SERIES
from monitor.view import PageView, SeriesView

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy under which the page works; format it with the page's nonce."""

_FIRST = 8  # rows of a table that are not folded
# Rows of all pipelines together, so that twenty large ones stay below a megabyte.
_PARTITIONS, _COMMITS, _RANGES = 500, 100, 40
_ASSETS = {
    "chart_css": "vendor/uPlot.min.css",
    "chart_js": "vendor/uPlot.iife.min.js",
    "css": "page.css",
    "early_js": "early.js",
    "js": "page.js",
}
_FILTERS: tuple[Callable[..., Any], ...] = (
    *(text.ago, text.clock, text.count, text.counted, text.duration, text.elapsed, text.full),
    *(text.machine, text.number, text.rate, text.sentence, text.share, text.size),
    *(summary.described, summary.groups, summary.known, summary.last_hour, summary.worst_first),
)


def render(view: PageView, nonce: str) -> str:
    """Return the whole page. `nonce`: of its scripts and styles, as in `POLICY`."""
    page = _environment().get_template("page.html")
    head = summary.headline(view)
    return page.render(view=view, head=head, nonce=nonce, main=render_main(view), **_assets())


def render_main(view: PageView) -> str:
    """Return the element <main> alone: the script takes it every two seconds, from /?part=main."""
    pipelines = max(len(view.pipelines), 1)
    main = _environment().get_template("main.html")
    return main.render(
        view=view,
        head=summary.headline(view),
        first=_FIRST,
        most_partitions=max(_PARTITIONS // pipelines, 2 * _FIRST),
        most_commits=max(_COMMITS // pipelines, _FIRST),
        most_ranges=max(_RANGES // pipelines, _FIRST // 2),
    )


@lru_cache(SERIES)
def points(series: SeriesView) -> str:
    """Return the series as JSON for the charts: first time, steps in seconds, values."""
    first = round(series.at[0]) if series.at else 0
    tree = {
        "first": first,
        "steps": [round(b) - round(a) for a, b in pairwise(series.at)],
        "rate": [_short(value) for value in series.rate],
        "lag": [_short(value) for value in series.lag],
        "seconds": [_short(value) for value in series.lag_seconds],
    }
    return json.dumps(tree, separators=(",", ":"))


def _short(value: float | None) -> float | None:
    """Round to what a chart can show."""
    if value is None:
        return None
    rounded = round(value, 1)
    return int(rounded) if rounded == int(rounded) else rounded


@cache
def _assets() -> dict[str, str]:
    here = files("monitor.page")
    return {name: here.joinpath(path).read_text("utf-8") for name, path in _ASSETS.items()}


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("monitor.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {f.__name__: f for f in _FILTERS}
    made.filters["points"] = points
    return made
