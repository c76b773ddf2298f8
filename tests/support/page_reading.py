"""What a person reads on the status page: its numbers, parsed back from the text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from playwright.sync_api import Page

SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
PLAIN = {"": 1.0}
SIZES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
TINY, ONE_DECIMAL = 0.05, 10

READ = """() => {
  const text = (node) => node ? node.textContent.replace(/\\s+/g, " ").trim() : null;
  const cell = (node) => node.querySelector("time") && !node.querySelector("b")
    ? node.querySelector("time").title : text(node);
  const rows = (table) => {
    const heads = [...table.querySelectorAll("thead th")].map(text);
    return [...table.querySelectorAll("tbody tr")].map((row) =>
      Object.fromEntries([...row.children].map((one, n) => [heads[n], cell(one)])));
  };
  const tables = (inside) => [...inside.querySelectorAll("table")].map((table) =>
    [table.querySelector("caption") ? text(table.querySelector("caption")) : "", rows(table)]);
  const tiles = (inside) => Object.fromEntries([...inside.querySelectorAll(".tile")].map((tile) =>
    [text(tile.querySelector("dt")), [
      [...tile.querySelector("dd").childNodes].map(text).join(" ").trim(),
      ...[...tile.querySelectorAll("time")].map((time) => time.title)]]));
  return {
    headline: text(document.querySelector("h1")),
    overview: document.querySelector(".overview") ? rows(document.querySelector(".overview")) : [],
    gateway: document.getElementById("gateway")
      ? [tiles(document.getElementById("gateway").parentNode),
         tables(document.getElementById("gateway").parentNode)] : null,
    sections: [...document.querySelectorAll(".pipeline")].map((section) => ({
      name: text(section.querySelector("h2")),
      state: text(section.querySelector(".badge")),
      since: (section.querySelector(".since time") || { title: null }).title,
      why: text(section.querySelector(".why")),
      next: text(section.querySelector(".next")),
      route: text(section.querySelector(".route")),
      outages: [...section.querySelectorAll(".outage")].map(text),
      tiles: tiles(section),
      tables: tables(section),
      reasons: [...section.querySelectorAll(".reason")].map((one) => ({
        line: text(one.querySelector("p")), last: one.querySelector("time").title,
        samples: [...one.querySelectorAll("table")].flatMap(rows) })),
      verdict: text(section.querySelector(".verdict")),
      findings: [...section.querySelectorAll(".block > ul > li")].map(text),
      unknown: Object.fromEntries([...section.querySelectorAll(".unknowns > div")].map((one) =>
        [text(one.querySelector("dt")), text(one.querySelector("dd"))])),
    })),
  };
}"""


@dataclass(frozen=True)
class Section:
    """One pipeline as the page shows it; cells are text, times the UTC of their title."""

    name: str
    state: str
    since: str | None
    why: str | None
    next: str | None
    route: str
    outages: list[str]
    tiles: dict[str, list[str]]
    tables: list[tuple[str, list[dict[str, str]]]]
    reasons: list[dict[str, Any]]
    verdict: str | None
    findings: list[str]
    unknown: dict[str, str]

    def rows(self, start: str) -> list[dict[str, str]]:
        """Return the rows of all tables whose caption begins so."""
        return [row for caption, rows in self.tables if caption.startswith(start) for row in rows]


@dataclass(frozen=True)
class Shown:
    """The whole page as a person reads it."""

    headline: str
    overview: list[dict[str, str]]
    gateway: list[Any] | None
    sections: list[Section] = field(default_factory=list)


def read(page: Page) -> Shown:
    """Read the page; what is folded is read too."""
    tree = page.evaluate(READ)
    return Shown(**(tree | {"sections": [Section(**each) for each in tree["sections"]]}))


def whole(shown: str) -> int | None:
    """Read "1,234 records"; a dash is None."""
    if shown.startswith("—"):
        return None
    found = re.match(r"-?[\d,]+", shown)
    assert found, shown
    return int(found[0].replace(",", ""))


def about(shown: str, value: float | None, units: Mapping[str, float] = PLAIN) -> bool:
    """Return whether "3 min 20 s", "1.4 MB" or "412 records/s" is the value, rounded."""
    if value is None or shown.startswith("—"):
        return value is None and shown.startswith("—")
    if shown.startswith("<0.1"):
        return 0 < value < TINY
    parts = [
        (float(n.replace(",", "")), units["" if units is PLAIN else unit])
        for n, unit in re.findall(r"([\d,]*\d(?:\.\d)?)\s?([A-Za-z]*)", shown)
    ]
    last = parts[-1][1] * (0.1 if parts[-1][0] < ONE_DECIMAL and len(parts) == 1 else 1)
    read_back = sum(n * unit for n, unit in parts)
    return abs(read_back - value) <= 0.5 * last + (0.5 if len(parts) > 1 else 1e-6)


def moment(title: str) -> datetime:
    """Read "2026-11-27 12:03:04 UTC"."""
    return datetime.strptime(title, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)


def same_moment(title: str | None, at: datetime | None) -> bool:
    """Return whether a time on the page is `at`, to the second."""
    if title is None or title.startswith("—"):
        return at is None
    return at is not None and moment(title) == at.replace(microsecond=0)
