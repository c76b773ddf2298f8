"""Bring records that pass today out of the quarantine into the clean table, exactly once.

1. Judge the chosen rows by today's schema and transform.
2. Replace the rows of those that pass (`sinks.delta.replacing`): one entry of the clean table's log
   adds their rows, and one of the quarantine's removes them. Both change the ledger; no position
   moves, so consumers commit beside it.
3. Killed in between, the next requeue or replacement commits the second entry first.

Rows stay where they are whose records the clean table has not read yet: its consumer reads them
again, and would write them twice.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import polars as pl

from audit.verify import snapshots
from core.clock import Clock
from core.config import Config
from pinpip.delta_targets import targets_of
from pinpip.pipelines import process_of, tables_of
from pinpip.quarantine.again import WHY, Judge, Judged, judge_of
from pinpip.quarantine.rows import REASON, Choice, Quarantine, opened
from sinks.delta import replacing
from sinks.delta.replacing import Place
from sinks.delta.selection import of_records
from sinks.delta.table import sorted_errors
from sinks.delta.target import Tables
from sinks.storage.store import open_store

COMMAND = "pinpip quarantine requeue"  # in the ids of these replacements: verify shows them
_ROWS = 50_000  # of one commit at most: its entry names their records
_BYTES = 64 * 2**20  # of these rows, about
_JUDGED = 2_000  # rows at once: a payload may have a megabyte
UNREAD = "the clean table has not read it yet: its consumer will"
UNSURE = "another engine merged files: the row may be of another incarnation"
Tell = Callable[[int, int], None]  # groups of files that are done, of so many


@dataclass
class Requeued:
    """What became of the chosen rows, or would become: `passing` are requeued without `dry_run`.

    `failing`: by today's reason. `left`: by what keeps them; these are neither rejected nor rows of
    the clean table today. `commits`: of the clean table. `finished`: an earlier requeue or
    replacement was finished first; with `dry_run` it would be, and its records are counted.
    """

    pipeline: str
    quarantine: str
    dry_run: bool
    chosen: int = 0
    passing: int = 0
    failing: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    commits: int = 0
    finished: bool = False

    def add(self, rows: pl.DataFrame, judged: Judged) -> None:
        """Count rows that were judged, but those that pass."""
        self.chosen += rows.height
        self.failing.update(judged.rejected[REASON].to_list())
        self.left.update(judged.left[WHY].to_list())

    def tree(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return vars(self) | {"failing": dict(self.failing), "left": dict(self.left)}


def requeue(
    config: Config,
    name: str,
    choice: Choice,
    clock: Clock,
    *,
    dry_run: bool = False,
    tell: Tell = lambda _done, _of: None,
    reached: Callable[[str], None] = lambda _: None,
) -> Requeued:
    """Requeue the chosen rows of the quarantine of the pipeline `name`, or say what would be.

    `reached` hears of each step that a crash can follow. Raises ConfigError for a schema or
    transform that cannot be loaded; SinkError, with nothing changed, for a table that cannot be;
    TransientError when the store does not answer: call it again.
    """
    work = _Work(config, name, clock, reached)
    done = Requeued(name, work.tables.quarantine, dry_run)
    done.finished = work.is_unfinished() if dry_run else work.finish()
    while not work.look(choice, done, tell):
        pass
    return done


class _Work:
    """The tables of one pipeline, and how their rows are judged and moved."""

    def __init__(
        self, config: Config, name: str, clock: Clock, reached: Callable[[str], None]
    ) -> None:
        self.tables: Tables = tables_of(config, name)
        self._config, self._name = config, name
        self._judge: Judge = judge_of(config, name, self.tables)
        process = process_of(config.pipeline(name), keep_values=False)
        clean, rejected = targets_of(self.tables, process)
        stores = (open_store(own.uri, config.aws) for own in (clean, rejected))
        self._places = Place(clean, next(stores)), Place(rejected, next(stores))
        self._clock = clock
        self._reached = reached

    def is_unfinished(self) -> bool:
        """Return whether one of the tables has seen a replacement that the other has not."""
        clean, rejected = snapshots(self.tables)
        return clean.replaced != rejected.replaced

    def finish(self) -> bool:
        """Finish what an earlier requeue or replacement began, if any did."""
        if opened(self._config, self._name) is None:
            return False
        return replacing.finish(*self._places, self._clock)

    def look(self, choice: Choice, done: Requeued, tell: Tell) -> bool:
        """Go through the newest version; False: others moved chosen rows meanwhile."""
        done.chosen, done.failing, done.left = done.passing, Counter(), Counter()
        found = opened(self._config, self._name)
        if found is None:
            return True
        if unsure := found.unsure():
            done.left[UNSURE] += unsure
        for clean in self._passing(found, choice, done, tell):
            if not done.dry_run and not self._move(clean, done):
                return False
            done.passing += clean.height
        return True

    def _passing(
        self, found: Quarantine, choice: Choice, done: Requeued, tell: Tell
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows of those that pass, as many as one commit takes; count the others."""
        ready: list[pl.DataFrame] = []
        for rows in self._readable(found, choice, done, tell):
            judged = self._judge(rows)
            done.add(rows, judged)
            ready.append(judged.clean)
            if _is_full(ready):
                yield pl.concat(ready)
                ready = []
        if any(frame.height for frame in ready):
            yield pl.concat(ready)

    def _readable(
        self, found: Quarantine, choice: Choice, done: Requeued, tell: Tell
    ) -> Iterator[pl.DataFrame]:
        """Yield the chosen rows whose records the clean table has read; count the others."""
        groups, tables = found.groups(choice), self.tables
        clean, _ = snapshots(tables)
        for number, paths in enumerate(groups, 1):
            rows = found.scan(paths, choice)
            for batch in _batches(rows, tables.quarantine):
                at = {p: clean.position(p) for p in tables.coordinates.counts(batch)}
                unread = tables.coordinates.beyond(at)
                waiting = batch.filter(unread).height
                done.chosen += waiting
                done.left.update({UNREAD: waiting} if waiting else {})
                yield batch.remove(unread)
            tell(number, len(groups))

    def _move(self, clean: pl.DataFrame, done: Requeued) -> bool:
        """Put the rows into the clean table, and theirs out of the quarantine."""
        outcome = replacing.replace(
            f"{COMMAND} {self._name} ({uuid4()})",
            of_records([clean], self.tables.coordinates),
            (self._places[0], lambda: [clean]),
            (self._places[1], list),
            self._clock,
            self._reached,
            leaving=clean.height,
        )
        done.commits += not outcome.stale
        return not outcome.stale


def _batches(rows: pl.LazyFrame, uri: str) -> Iterator[pl.DataFrame]:
    with sorted_errors(uri):
        yield from rows.collect_batches(chunk_size=_JUDGED, maintain_order=True)


def _is_full(frames: list[pl.DataFrame]) -> bool:
    rows = sum(frame.height for frame in frames)
    return rows >= _ROWS or sum(frame.estimated_size() for frame in frames) >= _BYTES
