"""Compare a table of latest rows with the tables that it is a view of, at the versions it says.

The latest rows are computed again by a grouping of all rows, not by the follower's code, a part of
the keys at a time. Rows are equal when all their columns are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from audit.invariants import FindingKind
from sinks.delta import table as tables
from sinks.delta import txns
from sinks.delta.incarnation import COLUMN
from sinks.delta.scan import TableReader
from sinks.delta.target import Tables
from sinks.latest.mark import Mark, definition_of, seen, stored
from sinks.latest.view import View

AT_ONCE = 1_000_000  # rows, of narrow columns
MOST_NAMED = 20  # keys of which each difference is named
_GONE, _ROW, _COUNT = "__gone", "__row", "__count"
Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LatestFinding:
    """One difference: at which key, and what is there instead of what."""

    kind: FindingKind
    key: str
    detail: str


@dataclass(frozen=True)
class LatestReport:
    """What was compared: `rows` of the latest table, with `behind` entries still to be followed.

    `version`: of the append table, which the rows show. `unknown`: why nothing was compared.
    """

    rows: int = 0
    version: int | None = None
    behind: int = 0
    findings: tuple[LatestFinding, ...] = ()
    unknown: str | None = None


def compare(
    view: View, own: Tables, uri: str, watch: Watch = lambda _what, _done, _total: None
) -> LatestReport:
    """Compare the latest table at `uri`. Raises SinkError when a table cannot be read."""
    clean = tables.find_own(own.clean, own.options, own.coordinates)
    latest = tables.find_own(uri, own.options, own.coordinates)
    if clean is None or latest is None:
        return LatestReport(unknown=None if clean is None else "it was not made yet")
    rejected = None
    if own.coordinates.sub is None:
        rejected = tables.find_own(own.quarantine, own.options, own.coordinates)
    with tables.sorted_errors(uri):
        mark = stored(txns.read(latest, own.options))
    held = TableReader(latest, own.options)
    if mark is None:
        return LatestReport(held.count(), unknown="it does not say which version it shows")
    behind = _behind(mark, clean, rejected)
    why = _another(view, mark, clean, rejected) or _loaded(mark, clean, rejected)
    if why:
        return LatestReport(held.count(), mark.version, behind, unknown=why)
    found = _Comparison(view, own, clean, rejected, held, watch).findings()
    return LatestReport(held.count(), mark.version, behind, tuple(found))


def _behind(mark: Mark, clean: DeltaTable, rejected: DeltaTable | None) -> int:
    sides = [(seen(clean)[1], mark.version), (seen(rejected)[1], mark.quarantine_version)]
    return sum(max(0, now - then) for now, then in sides)


def _another(view: View, mark: Mark, clean: DeltaTable, rejected: DeltaTable | None) -> str | None:
    """Return what the table is a view of, if that is not what there is now."""
    if mark.definition != definition_of(view):
        return "it shows another key or order; the next step builds it again"
    is_other = mark.quarantine_version >= 0 and mark.quarantine_table != seen(rejected)[0]
    if mark.table != seen(clean)[0] or is_other:
        return "it shows another table; the next step builds it again"
    return None


def _loaded(mark: Mark, clean: DeltaTable, rejected: DeltaTable | None) -> str | None:
    """Go to the versions that it shows; return why one cannot be read any more."""
    sides = [("append table", clean, mark.version)]
    if rejected is not None and mark.quarantine_version >= 0:
        sides.append(("quarantine", rejected, mark.quarantine_version))
    for name, table, version in sides:
        if version > table.version():
            return f"version {version} of the {name}, which it shows, is not there"
        try:
            if version < table.version():
                table.load_as_version(version)
        except DeltaError:
            return f"version {version} of the {name}, which it shows, was cleaned up"
    return None


@dataclass(frozen=True)
class _Comparison:
    """The rows to group, and those that were kept."""

    view: View
    own: Tables
    clean: DeltaTable
    rejected: DeltaTable | None
    held: TableReader
    watch: Watch

    def findings(self) -> Iterator[LatestFinding]:
        """Yield the differences; those beyond MOST_NAMED in one."""
        source = TableReader(self.clean, self.own.options)
        with tables.sorted_errors(self.own.clean):
            parts = 1 + source.count() // AT_ONCE
            count = 0
            for part in range(parts):
                self.watch("latest rows", part, parts)
                for one in self._part(source, part, parts):
                    count += 1
                    if count <= MOST_NAMED:
                        yield one
            self.watch("latest rows", parts, parts)
        if count > MOST_NAMED:
            more = f"{count - MOST_NAMED:,} more keys differ"
            yield LatestFinding(FindingKind.DIFFERENT, "others", more)

    def _part(self, source: TableReader, part: int, parts: int) -> Iterator[LatestFinding]:
        columns = [name for name in source.schema if name in self.held.schema]
        wanted = self._grouped(source, columns, part, parts)
        kept = self._narrow(self.held.rows(), columns, part, parts)
        kept = kept.with_columns(pl.len().over(self.view.key).alias(_COUNT))
        both = wanted.join(kept, on=self.view.key, how="full", coalesce=True, suffix=" kept")
        yield from filter(None, map(self._judge, both.iter_rows(named=True)))

    def _grouped(
        self, source: TableReader, columns: list[str], part: int, parts: int
    ) -> pl.DataFrame:
        """Return the latest rows as a grouping says, without those that a tombstone removes."""
        alive = self._narrow(source.rows(), columns, part, parts)
        every = [alive.with_columns(pl.lit(value=False).alias(_GONE))]
        if self.rejected is not None:
            rejected = TableReader(self.rejected, self.own.options).rows()
            dead = self.view.tombstones(rejected, source.schema)
            dead = dead.filter(self._is_in(part, parts))
            every.append(dead.collect().with_columns(pl.lit(value=True).alias(_GONE)))
        rows = pl.concat(every, how="diagonal")
        ranks = [*self.view.ranks, *([COLUMN] if COLUMN in rows.columns else [])]
        last = pl.all().sort_by(ranks, nulls_last=False).last()
        return rows.group_by(self.view.key).agg(last).remove(pl.col(_GONE)).drop(_GONE)

    def _narrow(
        self, rows: pl.LazyFrame, columns: list[str], part: int, parts: int
    ) -> pl.DataFrame:
        """Return the columns of the rule, and a digest of each whole row."""
        whole = pl.struct(columns).hash().alias(_ROW)
        mine = rows.filter(self._is_in(part, parts)).with_columns(whole)
        named = [COLUMN] if COLUMN in columns and COLUMN not in self.view.narrow else []
        return mine.select(*self.view.narrow, *named, _ROW).collect(engine="streaming")

    def _is_in(self, part: int, parts: int) -> pl.Expr:
        key = pl.col(self.view.key)
        return key.is_not_null() & (key.hash() % parts == part)

    def _judge(self, row: dict[str, object]) -> LatestFinding | None:
        """Return the difference at one key, if there is any."""
        key = f"{self.view.key} {row[self.view.key]}"
        should = self._place(row, "") if row[_ROW] is not None else None
        kept = self._place(row, " kept") if row[f"{_ROW} kept"] is not None else None
        if should is None:
            return LatestFinding(FindingKind.SURPLUS, key, f"it has {kept}, and no row is due")
        if kept is None:
            return LatestFinding(FindingKind.MISSING, key, f"it lacks {should}")
        if row[_COUNT] != 1:
            return LatestFinding(FindingKind.DUPLICATE, key, f"it has {row[_COUNT]} rows")
        if should != kept:
            return LatestFinding(FindingKind.DIFFERENT, key, f"it has {kept}, not {should}")
        if row[_ROW] != row[f"{_ROW} kept"]:
            return LatestFinding(FindingKind.DIFFERENT, key, f"{kept} has other values there")
        return None

    def _place(self, row: dict[str, object], suffix: str) -> str:
        identity = [n for n in self.view.coordinates.identity if n != self.view.key]
        return "/".join(str(row[f"{name}{suffix}"]) for name in identity)
