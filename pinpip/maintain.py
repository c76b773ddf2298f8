"""Keep the tables of a pipeline fast: small files merged, what nobody needs any more removed."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl

from core.clock import Clock
from core.config import Config
from core.errors import ConfigError
from pinpip.current import key_column
from pinpip.pipelines import tables_of
from sinks.delta import compaction
from sinks.delta.compaction import Compacted, Goal
from sinks.delta.table import find_own
from sinks.delta.target import DeltaTarget, Tables
from sinks.storage.store import open_store
from transforms.load import load_schema, load_transform

Tell = Callable[[int], None]  # files that were merged


@dataclass
class Upkeep:
    """What was done to one table, or would be: `merged` files of `merged_bytes` became `made`.

    `rows` and `made` are 0 for a plan. `version`: of the table, at the start; None: no table.
    """

    pipeline: str
    table: str
    version: int | None
    files: int = 0
    small: int = 0
    merged: int = 0
    merged_bytes: int = 0
    rows: int = 0
    made: int = 0
    made_bytes: int = 0
    commits: int = 0
    sorted_by: list[str] = field(default_factory=list)

    def count(self, done: Compacted) -> None:
        """Count what one commit did."""
        self.merged += done.files
        self.merged_bytes += done.bytes
        self.rows += done.rows
        self.made += done.new_files
        self.made_bytes += done.new_bytes
        self.commits += 1

    def tree(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return asdict(self)


def maintain(
    config: Config,
    name: str,
    clock: Clock,
    *,
    dry_run: bool = False,
    tell: Tell = lambda _files: None,
) -> Iterator[Upkeep]:
    """Maintain the clean table and the quarantine of the pipeline `name`, or plan it.

    Raises SinkError when a table cannot be rewritten; TransientError when the store does not
    answer: call it again.
    """
    tables, policy = tables_of(config, name), config.maintained(name)
    goal = Goal(int(policy.target), int(policy.memory))
    for uri in (tables.clean, tables.quarantine):
        keeper = _Keeper(config, name, tables, uri, goal, clock)
        yield keeper.planned() if dry_run else keeper.done(tell)


class _Keeper:
    """One table, and how its rows are sorted."""

    def __init__(
        self, config: Config, name: str, tables: Tables, uri: str, goal: Goal, clock: Clock
    ) -> None:
        self._store = open_store(uri, config.aws)
        self._goal, self._clock = goal, clock
        found = find_own(uri, tables.options, tables.coordinates)
        self._there = found is not None
        schema = pl.Schema(found.schema()) if found else pl.Schema()
        self._target = DeltaTarget(uri, tables.options, schema, tables.coordinates, tables.app)
        self._by = _order(config, name, tables, schema) if found else []
        self._report = Upkeep(name, uri, found.version() if found else None, sorted_by=self._by)

    def planned(self) -> Upkeep:
        """Count what there is, and what would be merged first."""
        report, now_ms = self._report, compaction.now_ms(self._clock)
        found = compaction.plan(self._target, self._goal, now_ms)
        if found is not None:
            report.files, report.small = found.files, len(found.small)
            report.merged = sum(map(len, found.bins))
            report.merged_bytes = sum(file.size for files in found.bins for file in files)
            report.commits = len(found.bins)
        return report

    def done(self, tell: Tell) -> Upkeep:
        """Merge small files."""
        report = self._report
        args = (self._target, self._store, self._by, self._goal, self._clock)
        for one in compaction.compact_all(*args) if self._there else ():
            report.count(one)
            tell(one.files)
        found = compaction.plan(self._target, self._goal, compaction.now_ms(self._clock))
        if found is not None:
            report.files, report.small = found.files, len(found.small)
        return report


def _order(config: Config, name: str, tables: Tables, table: pl.Schema) -> list[str]:
    """Return the columns to sort by: the key where there is one, and where each row is from."""
    pipeline, identity = config.pipeline(name), tables.coordinates.identity
    schema, transform = load_schema(pipeline.schema_), load_transform(pipeline.transform)
    try:
        key = key_column(schema, transform, tables.coordinates, table)
    except ConfigError:  # a quarantine has none
        return identity
    return [key, *identity]
