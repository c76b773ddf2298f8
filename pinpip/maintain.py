"""Keep the tables of a pipeline fast: small files merged, what nobody needs any more removed."""

import os
import socket
from collections.abc import Iterator
from datetime import timedelta

import polars as pl
from pydantic import ByteSize

from core.clock import Clock
from core.config import Config, Maintain
from core.errors import ConfigError
from core.pipeline import latest_of
from pinpip import archive_upkeep
from pinpip.current import key_column
from pinpip.pipelines import tables_of
from pinpip.upkept import Tell, Upkeep
from sinks.delta import checkpoints, compaction, marks, txns, vacuum
from sinks.delta.compaction import Goal, SortedTable
from sinks.delta.maintainer import Election
from sinks.delta.table import find_own
from sinks.delta.target import DeltaTarget, Tables
from sinks.storage.store import open_store
from transforms.load import load_schema, load_transform

# A table of latest rows: no file is small, and the table itself says how long files are kept.
_LATEST = {"target": ByteSize(0), "retention": timedelta(hours=1)}


def maintain(
    config: Config,
    name: str,
    clock: Clock,
    *,
    dry_run: bool = False,
    tell: Tell = lambda _files: None,
) -> Iterator[Upkeep]:
    """Maintain the clean table, the quarantine and the archives of the pipeline `name`, or plan it.

    Of a table of latest rows, whose files its follower keeps in order, only what nobody needs any
    more is removed, and its checkpoint renewed.

    Raises SinkError when a table cannot be rewritten; TransientError when the store does not
    answer: call it again.
    """
    tables = tables_of(config, name)
    latest = [latest_of(tables.clean)] if config.pipeline(name).is_upsert else []
    for uri in [*_both(tables), *latest]:
        keeper = _keeper(config, name, tables, uri, clock)
        if keeper is None:
            yield Upkeep(name, uri, None)
        else:
            yield keeper.planned() if dry_run else keeper.done(tell)
    yield from archive_upkeep.maintain(config, name, clock, dry_run=dry_run)


def _keeper(config: Config, name: str, tables: Tables, uri: str, clock: Clock) -> "Keeper | None":
    """Return what maintains the table at `uri`; None: there is no table."""
    found = find_own(uri, tables.options, tables.coordinates)
    if found is None:
        return None
    schema = pl.Schema(found.schema())
    target = DeltaTarget(uri, tables.options, schema, tables.coordinates, tables.app)
    policy, by = config.maintained(name), list[str]()
    if uri == latest_of(tables.clean):
        policy = policy.model_copy(update=_LATEST)
    else:
        by = _order(config, name, tables, schema)
    place = SortedTable(target, open_store(uri, config.aws), by)
    report = Upkeep(name, uri, found.version(), sorted_by=by)
    return Keeper(place, tables, policy, clock, report)


class Keeper:
    """One table of `tables` and what is done to it; `report` counts that."""

    def __init__(
        self, place: SortedTable, tables: Tables, policy: Maintain, clock: Clock, report: Upkeep
    ) -> None:
        self._place, self._policy, self._clock, self._report = place, policy, clock, report
        self._tables = tables
        self._goal = Goal(int(policy.target), int(policy.memory))
        owner = f"{socket.gethostname()}/{os.getpid()}"
        self._election = Election(place.store, owner, clock)

    def planned(self) -> Upkeep:
        """Count what there is, and what would be merged first."""
        report, found = self._report, self._look()
        if found is not None:
            report.merged = sum(map(len, found.bins))
            report.merged_bytes = sum(file.size for files in found.bins for file in files)
            report.commits = len(found.bins)
        report.removed = len(self._unneeded().paths)
        return report

    def done(self, tell: Tell) -> Upkeep:
        """Merge small files, write a checkpoint if one is due, and remove what nobody needs."""
        report = self._report
        if not self._election.won():
            report.notes.append(f"it is maintained by {self._election.holder}")
            return report
        try:
            self._merge(tell)
            target = self._place.target
            report.checkpoint = checkpoints.renew(target.uri, target.options, self._place.store)
            unneeded = self._unneeded()
            vacuum.remove(self._place.store, unneeded)
            report.removed = len(unneeded.paths)
        finally:
            self._election.leave()
        self._look()
        return report

    def _merge(self, tell: Tell) -> None:
        for one in compaction.compact_all(self._place, self._goal, self._clock):
            self._report.count(one)
            tell(one.files)
            if not self._election.won():
                self._report.notes.append(f"it is now maintained by {self._election.holder}")
                return

    def _look(self) -> compaction.Plan | None:
        """Count the files."""
        now_ms = compaction.now_ms(self._clock)
        found = compaction.plan(self._place.target, self._goal, now_ms)
        if found is not None:
            self._report.files, self._report.small = found.files, len(found.small)
        return found

    def _unneeded(self) -> vacuum.Unneeded:
        target, retention = self._place.target, self._policy.retention
        if _is_replacing(self._tables):
            self._report.notes.append("no file was removed: a replacement of rows is unfinished")
            return vacuum.Unneeded()
        found = vacuum.unneeded(self._place.store, target.uri, target.options, retention)
        if found.unknown:
            self._report.notes.append(f"no file was removed: {found.unknown}")
        return found


def _is_replacing(tables: Tables) -> bool:
    """Whether the clean table waits for its quarantine, whose entry names files of any age."""
    found = [find_own(uri, tables.options, tables.coordinates) for uri in _both(tables)]
    read = [txns.versions(one, tables.options) if one else lambda _: None for one in found]
    return len({marks.read(lookup, tables.app).number for lookup in read}) > 1


def _both(tables: Tables) -> tuple[str, str]:
    return tables.clean, tables.quarantine


def _order(config: Config, name: str, tables: Tables, table: pl.Schema) -> list[str]:
    """Return the columns to sort by: the key where there is one, and where each row is from."""
    pipeline, identity = config.pipeline(name), tables.coordinates.identity
    schema, transform = load_schema(pipeline.schema_), load_transform(pipeline.transform)
    try:
        key = key_column(schema, transform, tables.coordinates, table)
    except ConfigError:  # a quarantine has none
        return identity
    return [key, *identity]
