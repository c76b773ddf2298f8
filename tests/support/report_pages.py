"""Reports as pages: the small lake's answers, with the facts that a test gives."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import polars as pl

from pinpip.reporting import facts as reporting_facts
from pinpip.reporting import rows_by_kind, sources
from reports.page import Facts, TableFacts, render
from reports.run import Answer, answers
from tests.support import emulated_lake
from tests.support.report_tables import GEOS, PINS, USERS, Row, on_kafka

MADE = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
KINDS = ("pin", "geo", "user")
VERDICT = "exactly once: 52 rows, none missing, none twice"
VOID = {"meta", "rect", "path", "line", "br", "img", "link", "input", "hr"}


def table(kind: str, **own: object) -> TableFacts:
    """Return the facts of a table in good order."""
    made = TableFacts(
        pipeline=kind,
        kind=kind,
        rows=12_345,
        quarantined=67,
        committed=MADE - timedelta(minutes=3),
        newest=MADE - timedelta(minutes=4),
        level="ok",
        verdict=VERDICT,
        verified=MADE - timedelta(hours=2),
    )
    return replace(made, **own)  # type: ignore[arg-type]


GOOD = Facts("demo", "1.2.3", MADE, tuple(map(table, KINDS)))


def answered(
    pins: Sequence[Row] = PINS,
    geos: Sequence[Row] = GEOS,
    users: Sequence[Row] = USERS,
    only: Collection[int] | None = None,
    without: Collection[str] = (),
) -> list[Answer]:
    """Return the answers over these rows; `without`: tables that do not exist."""
    rows = {"pin": pins, "geo": geos, "user": users}
    tables: Mapping[str, list[pl.LazyFrame]] = {
        kind: [on_kafka(kind, own, 0)] for kind, own in rows.items() if kind not in without
    }
    return answers(tables, only, partial=True)


def page(found: Sequence[Answer] | None = None, facts: Facts = GOOD, **own: int) -> str:
    """Return the page of these answers."""
    return render(facts, answered() if found is None else found, **own)


def emulated_report(folder: Path, keys: int = 3_000) -> str:
    """Return the report of a lake of emulated records, made two hours after verify was content."""
    config = emulated_lake.fill(folder, keys)
    opened = sources(config)
    facts = reporting_facts(config, opened, MADE)
    newest = max(table.committed for table in facts.tables if table.committed)
    made = newest + timedelta(hours=2, minutes=10)
    told = {"level": "ok", "verified": newest + timedelta(minutes=10), "unknown": {}}
    tables = []
    for found in facts.tables:
        rows = (found.rows or 0) + (found.quarantined or 0)
        verdict = f"exactly once: {rows:,} rows, none missing, none twice"
        tables.append(replace(found, **told, verdict=verdict))  # type: ignore[arg-type]
    head = replace(facts, made=made, tables=tables)
    return render(head, answers(rows_by_kind(opened)))


class Parsed(HTMLParser):
    """A page taken apart: its tables by the section they are in, its tags, its charts' texts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.charts: dict[str, list[str]] = {}
        self.errors: list[str] = []
        self._open: list[str] = []
        self._section = self._chart = ""
        self.feed(html)
        self.close()
        if self._open:
            self.errors.append(f"left open: {self._open}")

    @property
    def ids(self) -> list[str]:
        """All ids, in order."""
        return [str(own["id"]) for _, own in self.tags if "id" in own]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag; a heading names the section."""
        own = dict(attrs)
        self.tags.append((tag, own))
        if tag not in VOID or "svg" in self._open:
            self._open.append(tag)
        if tag == "h2":
            self._section = str(own.get("id"))
        if tag == "table":
            self.tables[self._section] = []
        if tag == "svg" and own.get("role") == "img":
            self._chart = str(own["aria-labelledby"]).split()[0].removesuffix("-t")
            self.charts[self._chart] = []
        if tag == "tr":
            self.tables[self._section].append([])
        if tag in {"th", "td"}:
            self.tables[self._section][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag without content."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Check that it closes what was opened last."""
        if not self._open or self._open.pop() != tag:
            self.errors.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        """Collect the texts of cells and of charts."""
        if {"th", "td"} & {*self._open}:
            inner = self._open[-1] not in {"th", "td"}
            self.tables[self._section][-1][-1] += f"|{data}" if inner else data
        if self._open and self._open[-1] == "text":
            self.charts[self._chart].append(data)
