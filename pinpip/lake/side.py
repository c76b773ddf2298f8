"""One table of a pipeline, looked at again and again: what cannot change is read once."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Literal

from deltalake import DeltaTable

from core.clock import Clock
from monitor.view import FilesView
from pinpip.lake.commits import Commits
from pinpip.lake.reasons import Reasons
from pinpip.lake.view import LakeView
from pinpip.verify.verdict import TableSeen
from sinks.delta.scan import TableReader
from sinks.delta.table import find_own, sorted_errors
from sinks.delta.target import Tables
from sinks.storage.store import of_table

SMALL = 32 * 2**20
_UNCOUNTED = 64  # files without statistics whose rows are counted in one look


class Side(ABC):
    """One of the two tables.

    `view`: what it said when it was last read, this table's part only. `seen`: the version of it
    that is there. `concerns`: what a reason not to know something is filed under.
    """

    name: Literal["clean", "quarantine"]
    concerns: str

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._id: str | None = None  # of the table that was last there
        self._is_there = False
        self._told = ""  # that the table was replaced, or is gone
        self.view = LakeView()
        self.seen: TableSeen | None = None

    @property
    def untold(self) -> list[str]:
        """What is not known while the table cannot be read."""
        return [self.concerns]

    def look(self, tables: Tables) -> None:
        """Read what the table says now; raise a PinpipError when that fails."""
        now, uri = self._clock.now(), self._uri(tables)
        table = find_own(uri, tables.options, tables.coordinates)
        self._note(table, uri)
        view = LakeView(at=now, unknown={self.concerns: self._told} if self._told else {})
        self.seen = None if table is None else self._version(table)
        if table is not None:
            with sorted_errors(uri):
                reader = TableReader(table, tables.options)
                view = self._read(reader, table, tables, self._counted(reader, view))
        self.view = view

    @abstractmethod
    def _version(self, table: DeltaTable) -> TableSeen: ...

    @abstractmethod
    def _uri(self, tables: Tables) -> str: ...

    @abstractmethod
    def _forget(self) -> None: ...

    @abstractmethod
    def _read(
        self, reader: TableReader, table: DeltaTable, tables: Tables, view: LakeView
    ) -> LakeView: ...

    @abstractmethod
    def _with_rows(self, rows: int, view: LakeView) -> LakeView: ...

    def _note(self, table: DeltaTable | None, uri: str) -> None:
        """Take note when another table is there than before, or none."""
        own = None if table is None else str(table.metadata().id)
        is_same = own == self._id
        if self._is_there == (own is not None) and (is_same or own is None):
            return
        seen = f"seen at {self._clock.now():%H:%M:%S} UTC"
        if own is None:
            self._told = f"{uri} is gone: it was there before ({seen})"
        elif self._id is not None and not is_same:
            self._told = f"{uri} was replaced: these are the numbers of the new table ({seen})"
        else:
            self._told = ""
        if not is_same:
            self._forget()
        self._is_there = own is not None
        self._id = own or self._id

    def _counted(self, reader: TableReader, view: LakeView) -> LakeView:
        found = reader.files
        sizes = found["size_bytes"]
        files = FilesView(self.name, len(sizes), int((sizes < SMALL).sum()), int(sizes.sum()))
        view = replace(view, files=(files,))
        missing = found["num_records"].null_count()
        if missing > _UNCOUNTED:
            reason = f"{missing:,} data files do not tell their number of rows"
            return replace(view, unknown={**view.unknown, f"{self.name} rows": reason})
        return self._with_rows(reader.count(), view)


class CleanSide(Side):
    """The clean table: rows, files and the newest commits."""

    name = "clean"
    concerns = "table"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._commits = Commits()

    @property
    def untold(self) -> list[str]:
        """The commits as well, when none was seen."""
        return [self.concerns, *([] if self.view.commits else ["commits"])]

    def _version(self, table: DeltaTable) -> TableSeen:
        return TableSeen(table="table", id=str(table.metadata().id), version=table.version())

    def _uri(self, tables: Tables) -> str:
        return tables.clean

    def _forget(self) -> None:
        self._commits = Commits()

    def _with_rows(self, rows: int, view: LakeView) -> LakeView:
        return replace(view, clean=rows)

    def _read(
        self, reader: TableReader, table: DeltaTable, tables: Tables, view: LakeView
    ) -> LakeView:
        del reader
        store = of_table(tables.clean, tables.options)
        found = self._commits.newest(store, table.version(), tables.app)
        times = [commit.first_event for commit in found if commit.first_event is not None]
        commits = tuple(commit.view for commit in found)
        return replace(view, commits=commits, first_event=times[0] if times else None)


class QuarantineSide(Side):
    """The quarantine: rows, files and the reasons."""

    name = "quarantine"
    concerns = "quarantined"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._reasons = Reasons()

    def _version(self, table: DeltaTable) -> TableSeen:
        return TableSeen(table="quarantine", id=str(table.metadata().id), version=table.version())

    def _uri(self, tables: Tables) -> str:
        return tables.quarantine

    def _forget(self) -> None:
        self._reasons = Reasons()

    def _with_rows(self, rows: int, view: LakeView) -> LakeView:
        return replace(view, quarantined=rows)

    def _read(
        self, reader: TableReader, table: DeltaTable, tables: Tables, view: LakeView
    ) -> LakeView:
        del table
        reasons, left = self._reasons.look(reader, tables.coordinates)
        told = {"reasons": left} if left else {}
        return replace(view, reasons=reasons, unknown={**view.unknown, **told})
