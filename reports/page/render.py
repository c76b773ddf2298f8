"""The report as one HTML file that loads nothing: styles and charts inside, no script."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.page import text
from reports.page.facts import Facts
from reports.page.sections import MOST_ROWS, section
from reports.run import COVERAGE, Answer


@dataclass(frozen=True)
class Count:
    """One number of the coverage; `share`: of the pins, in per cent, None where it has none."""

    name: str
    number: int
    share: float | None


def render(facts: Facts, found: Sequence[Answer], limit: int | None = None) -> str:
    """Return the page of these answers; the coverage must be one of them.

    `limit`: rows of a table at most, 0: all; None: 1,000. A longer table says how many there are.
    """
    [coverage] = [answer for answer in found if answer.question.number == COVERAGE]
    most = MOST_ROWS if limit is None else limit
    sections = [
        section(answer, coverage, facts.missing, most) for answer in found if answer is not coverage
    ]
    css = _css()
    return (
        _environment()
        .get_template("report.html")
        .render(
            facts=facts,
            counts=_counts(coverage),
            coverage=coverage.question,
            sections=sections,
            css=css,
            policy=_policy(css),
        )
    )


def _counts(coverage: Answer) -> list[Count]:
    pins, geo, user, outside = coverage.frame.row(0)
    return [
        Count("pins", pins, None),
        Count("with a geo record", geo, _share(geo, pins)),
        Count("with a user record", user, _share(user, pins)),
        Count("posted outside 2018-2022", outside, _share(outside, pins)),
    ]


def _share(part: int, whole: int) -> float | None:
    return None if whole == 0 else 100 * part / whole


def _policy(css: str) -> str:
    """Return the Content-Security-Policy: this style sheet, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _css() -> str:
    return files("reports.page").joinpath("report.css").read_text("utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        f.__name__: f for f in (text.age, text.counted, text.exact, text.plain, text.time)
    }
    return made
