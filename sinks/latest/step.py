"""One step of a follower: from what changed to one entry of the latest table's log."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import polars as pl
import structlog
from deltalake import DeltaTable

from sinks.delta import table as tables
from sinks.delta import txns
from sinks.delta.commit_log import Hint
from sinks.delta.scan import TableReader
from sinks.delta.target import Tables
from sinks.latest import candidates, feed
from sinks.latest.candidates import Source
from sinks.latest.mark import APP, Mark, definition_of, seen, stored
from sinks.latest.view import View
from sinks.latest.writer import Writer
from sinks.storage.protocol import Store

IsOver = Callable[[], bool]
_log = structlog.get_logger()


@dataclass(frozen=True)
class Step:
    """What a step did: `rows` read, `files` written; `behind`: entries that are left.

    `version`: of the latest table, None if there is nothing to follow yet. `rebuilt`: why
    everything was built again. `committed`: whether it put an entry. `lost`: another follower was
    faster, or the step was stopped. `checkpoint`: the newest of the log, known if one may be due.
    """

    rows: int = 0
    files: int = 0
    behind: int = 0
    version: int | None = None
    committed: bool = False
    rebuilt: str | None = None
    lost: bool = False
    checkpoint: Hint | None = None


@dataclass(frozen=True)
class Attempt:
    """A step from one version of the latest table to the next."""

    view: View
    own: Tables
    store: Store
    latest: DeltaTable
    now_ms: int
    is_over: IsOver

    def run(self, clean: DeltaTable, rest_ms: int) -> Step:
        """Follow the append table `clean`, as of now, unless others did within `rest_ms`."""
        rejected, newest = self._rejected(), clean.version()
        mark = Mark(definition_of(self.view), *seen(clean), *seen(rejected))
        with tables.sorted_errors(self.store.uri):
            found = txns.read(self.latest, self.own.options)
        at, done = stored(found), txns.written_at(found, APP)
        if at == mark or (done is not None and 0 <= self.now_ms - done < rest_ms):
            return Step(version=self.latest.version())
        changed = feed.since(at, mark, self.own)
        if isinstance(changed, str):
            return self._rebuild(self._source(clean, rejected), mark, changed)
        if changed.clean.to < newest:
            clean.load_as_version(changed.clean.to)
        step = self._follow(
            self._source(clean, rejected), replace(mark, version=changed.clean.to), changed
        )
        return replace(step, behind=newest - changed.clean.to)

    def _rejected(self) -> DeltaTable | None:
        """Open the quarantine, which keeps the tombstones; records of a stream have values."""
        if self.own.coordinates.sub is not None:
            return None
        return tables.find_own(self.own.quarantine, self.own.options, self.own.coordinates)

    def _source(self, clean: DeltaTable, rejected: DeltaTable | None) -> Source:
        options = self.own.options
        other = None if rejected is None else TableReader(rejected, options)
        return Source(self.view, TableReader(clean, options), other)

    def _follow(self, source: Source, mark: Mark, changed: feed.Both) -> Step:
        with tables.sorted_errors(self.own.clean):
            why = self._unfollowable(source, changed)
            found = None if why else candidates.changed(source, changed.clean, changed.rejected)
        if found is None:
            return self._rebuild(source, mark, why or "too many keys were replaced at once")
        writer = self._writer(source)
        return replace(self._write(writer, writer.merge(found), mark), rows=found.read)

    def _unfollowable(self, source: Source, changed: feed.Both) -> str | None:
        """Return why the changes cannot be followed one by one."""
        held = pl.Schema(self.latest.schema())
        if not dict(held).items() <= dict(source.schema).items():
            return "the append table has other columns"
        if changed.clean.masked or changed.rejected.masked:
            return "rows were removed by a deletion vector"
        options = self.own.options
        gone = feed.is_gone(self.own.clean, options, source.clean, changed.clean)
        if source.rejected is not None:
            gone |= feed.is_gone(self.own.quarantine, options, source.rejected, changed.rejected)
        return "a file of an earlier version was removed" if gone else None

    def _rebuild(self, source: Source, mark: Mark, why: str) -> Step:
        _log.info("latest_rebuilt", table=self.store.uri, why=why)
        writer = self._writer(source)
        with tables.sorted_errors(self.own.clean):
            parts = candidates.everything(source)
            step = self._write(writer, writer.replace_all(parts), mark, why)
        return replace(step, rows=source.clean.count())

    def _writer(self, source: Source) -> Writer:
        return Writer(
            self.view, self.store, self.latest, self.own.options, source.schema, self.now_ms
        )

    def _write(
        self, writer: Writer, pauses: Iterable[None], mark: Mark, why: str | None = None
    ) -> Step:
        with tables.sorted_errors(self.store.uri):
            for _ in pauses:
                if self.is_over():
                    return Step(lost=True)
            done = writer.commit(mark, why)
        if done is None:
            return Step(lost=True)
        version = self.latest.version() + 1
        return Step(
            files=writer.files,
            version=version,
            committed=True,
            rebuilt=why,
            checkpoint=done.checkpoint,
        )
