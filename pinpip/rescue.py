"""Put values of `_rescued` into columns that the table has by now, without the source.

Each data file with such values is written again; one entry of the log removes up to `_FILES` of
them and adds their successors. The files are looked at in the version at the start; what others
remove meanwhile is looked at again in what they wrote. Done twice, the second finds nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from core import __version__
from core.batch import RESCUED
from core.clock import Clock
from core.config import Config
from core.errors import ConfigError, SinkError
from pinpip.pipelines import tables_of
from sinks.delta import data_file, merging, rewrite, setup
from sinks.delta import table as tables
from sinks.delta.incarnation_reader import IncarnationReader
from sinks.delta.rewrite import Rewritten
from sinks.delta.scan import TableReader, is_own
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store
from sinks.storage.store import open_store
from transforms.load import load_schema, load_transform, version_of
from transforms.process import try_out
from transforms.rehydrate import FieldCount, Rehydrator

KEY = "pinpipRescue"  # what a commit says of it
_FILES = 50  # of one commit at most
_BYTES = 64 * 2**20  # of one commit's files, about
_ROWS = 250_000  # of a file at once
Tell = Callable[[int, int], None]  # files that are done, of so many


@dataclass
class Rescue:
    """What was changed, or would be: rows and files, and of each field how many values.

    `looked_at`: files that were read; what is in those of `unknown` is not known. `commits`: 0 for
    a plan.
    """

    pipeline: str
    table: str
    looked_at: int = 0
    files: int = 0
    rows: int = 0
    commits: int = 0
    fields: dict[str, FieldCount] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def count(self, found: "_File") -> None:
        """Count a file that is done."""
        self.looked_at += 1
        self.files += bool(found.rows)
        self.rows += found.rows
        for name, own in found.fields.items():
            self.fields.setdefault(name, FieldCount()).add(own)

    def tree(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        told = {n: asdict(o) | {"columns": sorted(o.columns)} for n, o in self.fields.items()}
        return vars(self) | {"fields": told}


@dataclass(frozen=True)
class _File:
    """What is in one file: how many rows change, and what becomes of the fields."""

    path: str
    size: int
    known: int | None  # rows that the log says
    rows: int
    fields: Mapping[str, FieldCount]


def _is_full(group: Sequence[_File]) -> bool:
    return len(group) == _FILES or sum(own.size for own in group) >= _BYTES


def rescue(
    config: Config,
    name: str,
    clock: Clock,
    *,
    dry_run: bool = False,
    tell: Tell = lambda _done, _of: None,
) -> Rescue:
    """Rescue the clean table of the pipeline `name`, or plan it.

    Raises ConfigError without a table, or while it lacks a column of the transform; SinkError when
    it cannot be rewritten; TransientError when the store does not answer: call it again.
    """
    work = _Work(config, name, clock)
    while not work.look(dry_run=dry_run, tell=tell):
        pass
    return work.done


class _Work:
    """The files that are done, and what was found."""

    def __init__(self, config: Config, name: str, clock: Clock) -> None:
        own, pipeline = tables_of(config, name), config.pipeline(name)
        self._schema = load_schema(pipeline.schema_)
        self._transform = load_transform(pipeline.transform)
        columns = try_out(self._schema, self._transform, own.coordinates)
        target = DeltaTarget(own.clean, own.options, columns, own.coordinates, own.app)
        self._target = replace(target, folder=own.folder)
        self._rehydrate = Rehydrator(self._schema, self._transform, own.coordinates)
        self._store: Store = open_store(own.clean, config.aws)
        self._clock = clock
        self._same: dict[str, _File] = {}  # files that stay as they are, or would change
        self._changed: list[_File] = []
        self._new: set[str] = set()
        self._commits = 0
        self._unknown: dict[str, str] = {}
        self._name = name

    def look(self, *, dry_run: bool, tell: Tell) -> bool:
        """Go through the files of the newest version; False: others removed one meanwhile."""
        table = self._table()
        with tables.sorted_errors(self._target.uri):
            lives = self._lives(table)
            reader = lives.reader
            listed = reader.files.select("path", "size_bytes", "num_records").rows()
        self._forget({path for path, _, _ in listed})
        todo = [own for own in listed if own[0] not in self._same and own[0] not in self._new]
        ready, group = len(listed) - len(todo), list[_File]()
        for n, listing in enumerate(todo, 1):
            found = self._found(lives, *listing)
            if found.rows and not dry_run:
                group.append(found)
            else:
                self._same[found.path] = found
            if group and (n == len(todo) or _is_full(group)):
                if not self._commit(table, reader, group):
                    return False
                group = []
            tell(ready + n, len(listed))
        return True

    def _forget(self, there: set[str]) -> None:
        """Keep only what is known of files that are there: what others wrote is looked at."""
        self._same = {path: own for path, own in self._same.items() if path in there}
        self._unknown = {path: why for path, why in self._unknown.items() if path in there}

    @property
    def done(self) -> Rescue:
        """What was found so far."""
        whole = Rescue(self._name, self._target.uri, commits=self._commits, unknown=self._unknown)
        for own in [*self._changed, *self._same.values()]:
            if own.path not in self._unknown:
                whole.count(own)
        return whole

    def _table(self) -> DeltaTable:
        target = self._target
        table = tables.find_own(target.uri, target.options, target.coordinates)
        name = self._name
        if table is None:
            raise ConfigError(f"pipeline {name} has no table yet: {target.uri}", "nothing to do")
        tables.check(table, target)
        rewrite.refuse(table, target.uri)
        lacking = merging.missing([one.name for one in table.schema().fields], target)
        if lacking:
            raise ConfigError(
                f"table {target.uri} lacks {', '.join(sorted(lacking))}",
                f"start its consumer, which adds them: pinpip consume {name}",
            )
        return table

    def _lives(self, table: DeltaTable) -> IncarnationReader:
        own = self._target
        return IncarnationReader(table, own.options, own.coordinates, own.app, own.folder)

    def _found(self, lives: IncarnationReader, path: str, size: int, known: int | None) -> _File:
        """Return what can be rescued of one file."""
        fields: dict[str, FieldCount] = {}
        rows = 0
        with tables.sorted_errors(self._target.uri):
            if (why := self._obstacle(lives, path)) is not None:
                self._unknown[path] = why
                return _File(path, size, known, 0, fields)
            kept = lives.reader.scan([path]).filter(pl.col(RESCUED).is_not_null())
            for batch in kept.collect_batches(chunk_size=_ROWS):
                made = self._rehydrate(batch)
                rows += made.changed
                for name, own in made.fields.items():
                    fields.setdefault(name, FieldCount()).add(own)
        return _File(path, size, known, rows, fields)

    @staticmethod
    def _obstacle(lives: IncarnationReader, path: str) -> str | None:
        if not rewrite.can_be_removed(lives.reader, path):
            return "a deletion vector, or a name that is escaped in the log"
        if not is_own(path) and not lives.is_alone_in(path):
            return "another engine put rows of another incarnation into it"
        return None

    def _commit(self, table: DeltaTable, reader: TableReader, group: list[_File]) -> bool:
        """Write the files again, and commit them; False: others removed one of them."""
        now_ms = int(self._clock.now().timestamp() * 1000)
        made = [Rewritten(o.path, o.size, self._written(table, reader, o, now_ms)) for o in group]
        rows = sum(own.rows for own in group)
        about = {
            KEY: {"rows": rows, "version": __version__, "transform": version_of(self._transform)}
        }
        now_ms = int(self._clock.now().timestamp() * 1000)
        done = rewrite.commit(self._target, self._store, table, made, about, now_ms)
        if done:
            self._changed += group
            self._new |= {file.path for own in made for file in own.files}
            self._commits += 1
        return done

    def _written(
        self, table: DeltaTable, reader: TableReader, own: _File, now_ms: int
    ) -> list[AddAction]:
        """Upload the rows of a file as new files, a part of the rows each."""
        folder = rewrite.folder_of(own.path, self._target)
        wanted = data_file.bounded(self._target.schema, self._target.coordinates)
        bounded = setup.bounds(table, wanted)
        rows = self._rows(reader, own.path)
        files, height = rewrite.uploaded(self._store, rows, bounded, folder, now_ms)
        if own.known not in {None, height}:
            raise SinkError(
                f"{own.path} of table {self._target.uri} has {height:,} rows, not {own.known:,}",
                "restore that file from a backup; it was not changed",
            )
        return files

    def _rows(self, reader: TableReader, path: str) -> Iterator[pl.DataFrame]:
        with tables.sorted_errors(self._target.uri):
            for batch in reader.scan([path]).collect_batches(chunk_size=_ROWS, maintain_order=True):
                if batch.height:
                    yield self._rehydrate(batch).rows
