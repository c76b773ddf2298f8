"""What a replay in place changes: rows added, removed and changed, by column."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import polars as pl

from audit.row_diff import VERSIONS
from audit.snapshot import Snapshot
from audit.verify import snapshots
from core.batch import Coordinates, Partition, Position, Stretch
from pinpip.replacing import Staged
from sinks.delta import keys
from sinks.delta.selection import Records

_RECORDS = 250_000  # of a partition at once: offsets, or a shard's rows
_SAMPLES = 3


@dataclass
class Difference:
    """One table: counts, and samples as `partition:offset`; `columns`: changed rows by column.

    Of a stream a sample is `shard:sequence:subsequence`.
    """

    table: str
    added: int = 0
    removed: int = 0
    changed: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.changed)

    def tree(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return {**vars(self), "columns": dict(self.columns)}

    def sample(self, kind: str, told: Iterator[str]) -> None:
        """Keep the first samples of a kind."""
        kept = self.samples.setdefault(kind, [])
        kept.extend(text for _, text in zip(range(_SAMPLES - len(kept)), told, strict=False))


def differences(own: Staged) -> list[Difference]:
    """Compare the live rows of the staged records with the staged ones, in both tables.

    A row that differs in the versions that made it alone does not differ.
    """
    pairs = zip(snapshots(own.live), snapshots(own.tables), strict=True)
    return [_difference(live, new, own) for live, new in pairs]


def _difference(live: Snapshot, new: Snapshot, own: Staged) -> Difference:
    c = own.live.coordinates
    found = Difference(live.name)
    staged = {} if c.sub is None else new.keys()
    for part in own.selection.ranges:
        stretches = _of_offsets(part) if c.sub is None else _of_rows(part.of, own, staged)
        for stretch in stretches:
            have, want = (_rows(side, part.of, stretch, own) for side in (live, new))
            _compare(found, have, want, c)
    return found


def _of_offsets(part: Records) -> Iterator[Stretch]:
    first = part.start.number if part.start else 0
    for begin in range(first, part.end.number, _RECORDS):
        yield Stretch(Position(begin), Position(min(begin + _RECORDS, part.end.number)))


def _of_rows(
    shard: Partition, own: Staged, staged: Mapping[Partition, pl.Series]
) -> Iterator[Stretch]:
    """Yield stretches that hold all live and staged rows: sequence numbers count nothing."""
    sides = [side[shard] for side in (own.held, staged) if shard in side]
    rows = pl.concat(sides).unique().sort() if sides else pl.Series()
    for part in rows.to_frame().iter_slices(_RECORDS):
        first, last = part.item(0, 0), part.item(-1, 0)
        c = own.live.coordinates
        yield Stretch(keys.before(first, c), keys.after(last, c))


def _rows(side: Snapshot, partition: Partition, stretch: Stretch, own: Staged) -> pl.DataFrame:
    rows = side.rows({partition: stretch})
    if rows.is_empty():
        return rows
    c = own.live.coordinates
    return rows.filter(own.selection.picked(rows, c)).sort(c.identity)


def _compare(found: Difference, have: pl.DataFrame, want: pl.DataFrame, c: Coordinates) -> None:
    on, place = c.identity, partial(_place, coordinates=c)
    gone, new = have.join(want, on=on, how="anti"), want.join(have, on=on, how="anti")
    found.removed += gone.height
    found.added += new.height
    found.sample("removed", map(place, gone.iter_rows(named=True)))
    found.sample("added", map(place, new.iter_rows(named=True)))
    before, after = have.join(want, on=on, how="semi"), want.join(have, on=on, how="semi")
    unequal = _unequal(before, after)
    rows = unequal.select(pl.any_horizontal(pl.all())).to_series() if unequal.width else None
    if rows is None or not rows.any():
        return
    found.changed += int(rows.sum())
    found.columns.update({n: int(unequal[n].sum()) for n in unequal.columns if unequal[n].any()})
    at = rows.arg_true().head(_SAMPLES)
    found.sample("changed", _changes(before[at], after[at], unequal[at], place))


def _unequal(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Return which values differ; a column that one of both lacks is null there."""
    names = [n for n in dict.fromkeys([*before.columns, *after.columns]) if n not in VERSIONS]
    sides = [_with(frame, names) for frame in (before, after)]
    return pl.DataFrame({n: sides[0][n].ne_missing(sides[1][n]) for n in names})


def _with(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    return frame.with_columns(pl.lit(None).alias(n) for n in names if n not in frame.columns)


def _changes(
    before: pl.DataFrame,
    after: pl.DataFrame,
    unequal: pl.DataFrame,
    place: Callable[[dict[str, Any]], str],
) -> Iterator[str]:
    rows = zip(
        before.iter_rows(named=True),
        after.iter_rows(named=True),
        unequal.iter_rows(named=True),
        strict=True,
    )
    for then, now, differs in rows:
        told = [f"{n} {then.get(n)!r} → {now.get(n)!r}" for n, is_so in differs.items() if is_so]
        yield f"{place(now)} {', '.join(told)}"


def _place(row: dict[str, Any], coordinates: Coordinates) -> str:
    return ":".join(str(row[name]) for name in coordinates.identity[1:])
