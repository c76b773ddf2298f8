"""What a report is made of: the clean tables by record type, each opened once, and their facts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import polars as pl

from pinpip.lake.look import UNEXPECTED, why
from pinpip.pipelines import tables_of
from sinks.delta.scan import TableReader
from sinks.delta.table import find_own
from transforms.load import load_schema

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from core.config import Config
    from pinpip.verify.verdict import TableSeen
    from reports.page import Facts, Level, TableFacts
    from sinks.delta.target import Tables

_TIME = "_timestamp"
_COMMITS = 64  # how far back the newest commit is looked for
_LEVELS: "dict[str, Level]" = {"ok": "ok", "bad": "bad", "warn": "unknown", "unknown": "unknown"}
T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """One pipeline's clean table; `kind`: its record type, which its schema names."""

    pipeline: str
    kind: str
    tables: "Tables"
    table: "DeltaTable"

    @property
    def reader(self) -> TableReader:
        """What reads the version that was opened."""
        return TableReader(self.table, self.tables.options)


@dataclass(frozen=True)
class _Quarantine:
    rows: int
    seen: "Sequence[TableSeen]" = ()


def sources(config: "Config") -> list[Source]:
    """Open every clean table that exists."""
    found = []
    for name, pipeline in config.pipelines.items():
        tables = tables_of(config, name)
        table = find_own(tables.clean, tables.options, tables.coordinates)
        if table is not None:
            found.append(Source(name, load_schema(pipeline.schema_).name, tables, table))
    return found


def rows_by_kind(opened: Sequence[Source]) -> dict[str, list[pl.LazyFrame]]:
    """Return the rows of the clean tables by record type."""
    found: dict[str, list[pl.LazyFrame]] = {}
    for source in opened:
        found.setdefault(source.kind, []).append(source.reader.rows())
    return found


def facts(config: "Config", opened: Sequence[Source], at: datetime) -> "Facts":
    """Return how fresh the tables are that the answers were read from, and what verify said."""
    from core import __version__
    from reports.page import Facts
    from reports.run import VIEWS

    kinds = [kind for kind, _ in VIEWS.values()]
    read = [_facts(source, at) for source in opened if source.kind in kinds]
    missing = [kind for kind in kinds if kind not in {source.kind for source in opened}]
    return Facts(config.id, __version__, at, read, missing)


def _facts(source: Source, at: datetime) -> "TableFacts":
    from pinpip.verify.last import last_verdict
    from reports.page import TableFacts

    unknown: dict[str, str] = {}
    look = partial(_unless, unknown)
    rows = look("rows", source.reader.count)
    quarantine = look("quarantined", partial(_quarantine, source.tables))
    total = None if rows is None or quarantine is None else rows + quarantine.rows
    seen = [_seen("table", source.table), *(quarantine.seen if quarantine else ())]
    last, none = last_verdict(source.tables, seen, at, total)
    if last is None:
        unknown["verify"] = none
    return TableFacts(
        pipeline=source.pipeline,
        kind=source.kind,
        rows=rows,
        quarantined=None if quarantine is None else quarantine.rows,
        committed=look("newest commit", partial(_committed, source)),
        newest=look("newest record", partial(_newest, source)),
        level="unknown" if last is None else _LEVELS[last.level],
        verdict="" if last is None else last.text,
        verified=None if last is None else last.at,
        findings=() if last is None else last.findings,
        unknown=unknown,
    )


def _unless(unknown: dict[str, str], what: str, look: Callable[[], T]) -> T | None:
    """Return what `look` finds; None when it cannot tell now, and `unknown` says why."""
    try:
        return look()
    except UNEXPECTED as error:
        unknown[what] = why(error)
        return None


def _quarantine(tables: "Tables") -> _Quarantine:
    table = find_own(tables.quarantine, tables.options, tables.coordinates)
    if table is None:
        return _Quarantine(0)
    return _Quarantine(TableReader(table, tables.options).count(), (_seen("quarantine", table),))


def _seen(stage: Literal["table", "quarantine"], table: "DeltaTable") -> "TableSeen":
    from pinpip.verify.verdict import TableSeen

    return TableSeen(table=stage, id=str(table.metadata().id), version=table.version())


def _committed(source: Source) -> datetime | None:
    """Return the time of the newest commit of this incarnation, among the log's newest."""
    from sinks.delta import history, ledger

    for commit in history.commits(source.table, source.tables.options, _COMMITS):
        try:
            entry = ledger.decode(commit.text)
        except ValueError:
            continue  # verify names a damaged one
        if entry.app == source.tables.app:
            return commit.at
    return None


def _newest(source: Source) -> datetime | None:
    found = source.reader.rows().select(pl.col(_TIME).max()).collect().item()
    return found if isinstance(found, datetime) else None
