"""The rows of one incarnation of a pipeline in a table.

`sinks.delta.incarnation` says how rows and files name it. Another engine writes files beside the
log, with rows of all incarnations: there a null is of the only incarnation that leaves it null,
else of the one whose ledger covers the row, else `unsure`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
from deltalake import DeltaTable

from core.batch import Coordinates
from core.protocols import Options
from sinks.delta import claims, txns
from sinks.delta.claims import Claim
from sinks.delta.incarnation import COLUMN, FIRST, NAMED, incarnation_of
from sinks.delta.scan import TableReader, is_own
from sinks.delta.txns import Application


@dataclass(frozen=True)
class Nameless:
    """An incarnation that leaves `_incarnation` null; `began` (ms) where the table says so."""

    name: str
    began: int | None

    def may_be_in(self, written: int) -> bool:
        """Return whether a file written at that time (ms) may have rows of it."""
        return self.began is None or self.began <= written


class IncarnationReader:
    """One incarnation's rows in one version of a table.

    `app` names its positions (`pinpip/<pipeline>/<incarnation>`), `folder` its data files.
    """

    def __init__(
        self, table: DeltaTable, options: Options, coordinates: Coordinates, app: str, folder: str
    ) -> None:
        self.reader = TableReader(table, options)
        self._table = table
        self._options = options
        self._coordinates = coordinates
        self._app = app
        self._own = incarnation_of(folder)

    @cached_property
    def files(self) -> pl.DataFrame:
        """The data files that may have rows of this incarnation, as `TableReader.files`."""
        found = self.reader.files
        may = [not is_own(p) or incarnation_of(p) == self._own for p in found["path"]]
        return found.filter(pl.Series(may, dtype=pl.Boolean))

    def scan(self, paths: Sequence[str], file: str | None = None) -> pl.LazyFrame:
        """Scan the rows of this incarnation in some files, as `TableReader.scan`."""
        shared = [path for path in paths if not is_own(path)]
        alone = [path for path in paths if is_own(path)]
        parts = [self.reader.scan(alone, file)] if alone or not shared else []
        for nulls, some in self._by_writers(shared).items():
            parts.append(self._filtered(some, nulls, file))
        return pl.concat(parts)

    def is_alone_in(self, path: str) -> bool:
        """Return whether every row of the file is of this incarnation."""
        mine, every = (
            scanned.select(pl.len()).collect().item()
            for scanned in (self.scan([path]), self.reader.scan([path]))
        )
        return bool(mine == every)

    def unsure(self, paths: Sequence[str]) -> pl.LazyFrame | None:
        """Scan the rows that may be of this incarnation or of another; None: there are none."""
        ambiguous = {
            nulls: some
            for nulls, some in self._by_writers([p for p in paths if not is_own(p)]).items()
            if len(nulls) > 1 and self._own in nulls
        }
        parts = [
            claims.of_several(self._nulls(some), self._claims(nulls), self._own, self._coordinates)
            for nulls, some in ambiguous.items()
        ]
        return pl.concat(parts) if parts else None

    def _filtered(
        self, paths: Sequence[str], nulls: tuple[str, ...], file: str | None
    ) -> pl.LazyFrame:
        """Scan own rows in files of other engines, whose nulls are of the incarnations `nulls`."""
        rows = self.reader.scan(paths, file)
        named = COLUMN in self.reader.schema
        if nulls == (self._own,):
            other = pl.col(COLUMN).ne(self._own).fill_null(value=False)
            return rows.remove(other) if named else rows
        own = rows.filter(pl.col(COLUMN) == self._own) if named else rows.head(0)
        if self._own not in nulls:
            return own
        nameless = self._nulls(paths, file)
        certain = claims.of_one(nameless, self._claims(nulls), self._own, self._coordinates)
        return pl.concat([own, certain])

    def _nulls(self, paths: Sequence[str], file: str | None = None) -> pl.LazyFrame:
        rows = self.reader.scan(paths, file)
        named = COLUMN in self.reader.schema
        return rows.filter(pl.col(COLUMN).is_null()) if named else rows

    def _by_writers(self, paths: Iterable[str]) -> dict[tuple[str, ...], list[str]]:
        """Group files of other engines by the incarnations whose rows may be nulls there."""
        found: dict[tuple[str, ...], list[str]] = {}
        for path in paths:
            found.setdefault(self._writers_of(path), []).append(path)
        return found

    def _writers_of(self, path: str) -> tuple[str, ...]:
        if incarnation_of(path) != FIRST:
            return (incarnation_of(path),)
        written = self._written[path]
        found = tuple(own.name for own in self._unnamed if own.may_be_in(written))
        return found or (FIRST,)

    @cached_property
    def _written(self) -> dict[str, int]:
        return dict(self.files.select("path", "modification_time").iter_rows())

    @cached_property
    def _unnamed(self) -> list[Nameless]:
        """The incarnations that leave the column null; this one alone where there is no other."""
        if not self._app.endswith(f"/{self._own}"):  # a replay's table has one incarnation
            return [Nameless(self._own, None)]
        told = self._applications
        names = {app.removeprefix(self._prefix).split("/")[0] for app in told}
        marks = {name: told.get(f"{self._prefix}{name}") for name in names}
        return [
            Nameless(name, mark.updated if mark else None)
            for name, mark in sorted(marks.items())
            if mark is None or mark.version < NAMED
        ]

    @property
    def _prefix(self) -> str:
        return self._app.removesuffix(self._own)

    @cached_property
    def _applications(self) -> Mapping[str, Application]:
        """Those of all incarnations of the pipeline."""
        found = txns.read(self._table, self._options)
        return {name: app for name, app in found.items() if name.startswith(self._prefix)}

    @cached_property
    def _all_claims(self) -> Mapping[str, Claim]:
        apps = {own.name: f"{self._prefix}{own.name}" for own in self._unnamed}
        return claims.of(self._table, self._options, self._applications, apps, self._coordinates)

    def _claims(self, names: Sequence[str]) -> Mapping[str, Claim]:
        return {name: self._all_claims[name] for name in names}
