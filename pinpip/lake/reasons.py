"""The quarantine by reason: counts and the newest few records, each data file read once.

Of all rows only reason, time and coordinates are read; of the newest few, also the detail and the
start of the value.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from core.batch import VALUE, Coordinates
from monitor.rejects import SAMPLES, SHOWN_BYTES, printable, sample
from monitor.view import ReasonView, Sample
from sinks.delta.scan import TableReader

FILES_A_LOOK = 200
_ROWS_A_LOOK = 500_000
_MAX_REASONS = 50
_TEXT = 300  # characters of a detail
_SAMPLED_BYTES = 64 * 2**20  # of a larger file no value is read: that takes memory
_FILE, _REASON, _DETAIL, _TIME = "__file", "reason", "detail", "_timestamp"
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)

_Key = tuple[str, int | None]  # path and rows: deletions leave the path


@dataclass
class _Tally:
    """What is known of one reason; `newest`: sampled records with their times."""

    rows: int = 0
    last: datetime = _NO_TIME
    newest: list[tuple[datetime, Sample]] = field(default_factory=list)

    def add(self, rows: int, last: datetime) -> None:
        self.rows += rows
        self.last = max(last, self.last)

    def show(self, at: datetime, sample: Sample) -> None:
        later = sorted([*self.newest, (at, sample)], key=lambda one: one[0], reverse=True)
        self.newest = later[:SAMPLES]


class Reasons:
    """The quarantine of one pipeline, followed from look to look."""

    def __init__(self) -> None:
        self._read: set[_Key] = set()
        self._tallies: dict[str, _Tally] = {}

    def look(
        self, reader: TableReader, coordinates: Coordinates
    ) -> tuple[tuple[ReasonView, ...], str]:
        """Read the files that are new, the newest first; the second says what is left to read."""
        columns = ("path", "num_records", "size_bytes")
        listed = reader.files.sort("modification_time", descending=True).select(columns).rows()
        there = {(path, rows): size for path, rows, size in listed if rows != 0}
        if not self._read <= there.keys():  # files were merged, or rows deleted
            self._read, self._tallies = set(), {}
        unread = [key for key in there if key not in self._read]
        some = _first(unread)
        if some:
            self._add(reader, coordinates, {path: there[path, rows] for path, rows in some})
            self._read.update(some)
        left = len(unread) - len(some)
        note = f"counted in {len(self._read):,} of {len(there):,} files so far" if left else ""
        return self._views(), note

    def _add(self, reader: TableReader, c: Coordinates, sizes: dict[str, int]) -> None:
        time = pl.col(_TIME).fill_null(_NO_TIME)
        rows = reader.scan(list(sizes), _FILE).with_columns(time)
        counts = rows.group_by(_REASON).agg(pl.len(), pl.col(_TIME).max())
        for reason, count, last in counts.collect(engine="streaming").iter_rows():
            self._tallies.setdefault(reason or "", _Tally()).add(count, last)
        newest = self._newest(rows, c)
        shown = newest.join(_texts(reader, newest, sizes, c), on=c.identity, how="left")
        for row in shown.iter_rows(named=True):
            self._tallies[row[_REASON] or ""].show(row[_TIME], sample(row, c))

    def _newest(self, rows: pl.LazyFrame, c: Coordinates) -> pl.DataFrame:
        """Return where the newest records of each reason are."""
        columns = [_REASON, _TIME, _FILE, *c.identity]
        tops = [
            rows.filter(pl.col(_REASON).fill_null("") == reason)
            .select(columns)
            .top_k(SAMPLES, by=_TIME)
            for reason, _ in self._most()
        ]
        return pl.concat(pl.collect_all(tops, engine="streaming"))

    def _most(self) -> list[tuple[str, _Tally]]:
        found = sorted(self._tallies.items(), key=lambda item: (-item[1].rows, item[0]))
        return found[:_MAX_REASONS]

    def _views(self) -> tuple[ReasonView, ...]:
        return tuple(
            ReasonView(
                reason=printable(reason.encode()),
                rows=tally.rows,
                last=None if tally.last == _NO_TIME else tally.last,
                samples=tuple(sample for _, sample in tally.newest),
            )
            for reason, tally in self._most()
        )


def _first(unread: list[_Key]) -> list[_Key]:
    """Return the first files that together are no more than one look reads; at least one."""
    some: list[_Key] = []
    total = 0
    for path, rows in unread[:FILES_A_LOOK]:
        total += _ROWS_A_LOOK // FILES_A_LOOK if rows is None else rows
        if some and total > _ROWS_A_LOOK:
            break
        some.append((path, rows))
    return some


def _texts(
    reader: TableReader, newest: pl.DataFrame, sizes: dict[str, int], c: Coordinates
) -> pl.DataFrame:
    """Return detail and start of the value of these records, but of those in large files."""
    paths = [p for p, size in sizes.items() if size <= _SAMPLED_BYTES and _is_in(p, newest)]
    start = pl.col(VALUE).bin.slice(0, SHOWN_BYTES + 1)
    detail = pl.col(_DETAIL).str.slice(0, _TEXT)
    rows = reader.scan(paths).join(newest.lazy(), on=c.identity, how="semi")
    return rows.select(*c.identity, detail, start).collect().unique(c.identity)


def _is_in(path: str, newest: pl.DataFrame) -> bool:
    return any(uri.endswith(path) for uri in newest[_FILE].unique())
