"""The Delta sink: rows and the positions they advance, in one commit."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

import polars as pl
from deltalake import DeltaTable, Transaction

from core import __version__
from core.batch import Batch, Note, Partition, Position, Rejects
from core.clock import Clock
from core.errors import StalePosition, TransientError
from core.origins import Start
from sinks.delta import cleanup, history, ledger, origins, position_checks, positions, table, txns
from sinks.delta.checkpoints import CheckpointWriter
from sinks.delta.commit_log import CommitLog, Committed, Conflict, Hint, Version
from sinks.delta.log import DeltaLog, is_checkpoint_due
from sinks.delta.positions import Lookup
from sinks.delta.prepared import Due, Prepared, Upload, groups
from sinks.delta.progress import Progress, beyond
from sinks.delta.setup import Setup
from sinks.delta.target import DeltaTarget
from sinks.delta.watch import LEAST_RETENTION
from sinks.storage.protocol import Store

_MAX_TRIES = 20  # of one commit, after conflicts
_MAX_FOLLOWED = 10  # conflicts in a row, then the table is opened again: that is faster


class DeltaSink:
    """A `Sink` on one Delta table, exactly once by compare-and-set on its `txn` actions.

    `prepare` moves what was `seen` of a partition, the other calls what is `held`: they may run
    beside each other.
    """

    def __init__(self, name: str, target: DeltaTarget, store: Store, clock: Clock) -> None:
        self.name = name
        self._target = target
        self._store = store
        self._clock = clock
        self._progress = Progress(name, target.coordinates)
        self._log: CommitLog | None = None
        self._setup = Setup(target)
        self._read: Lookup = lambda _: None
        self._made_by: tuple[str, Rejects | None] = ("", None)
        self._committed_at = clock.monotonic()
        self._checkpoints = CheckpointWriter(name, target.uri, target.options, store)

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """Read the positions again from the table.

        Raises PositionLost when the table has rows of a partition but no position for it, or rows
        beyond it.
        """
        target = self._target
        self._store.prove()
        self._log = None
        newest = table.find_to_write(target.uri, target.options)
        log: CommitLog | None = None
        if newest is None:
            found: dict[Partition, Position | None] = dict.fromkeys(partitions)
            self._setup.see(None, self._now_ms())
        else:
            table.check(newest, target)
            with table.sorted_errors(target.uri):  # a lookup may read the log
                self._setup.see(newest, self._now_ms())
                log = self._opened(newest)
                found = {
                    p: positions.read_with_epoch(log.txn_version, target.app, p, target.coordinates)
                    for p in partitions
                }
                position_checks.check(newest, target, found, self._read)
                position_checks.refuse_another_pipeline(self._store, target, log, found)
        self._log = log
        self._progress.read(found)
        return found

    def rejects(self, partitions: Collection[Partition]) -> Sequence[Rejects]:
        """Return the windows of the newest commits of the version that `positions` read."""
        if self._log is None or not self._target.rules:
            return ()
        return history.windows(self._store, self._log.version, self._target, partitions)

    def arrivals(self, partitions: Collection[Partition]) -> Mapping[Partition, datetime]:
        """Return when the newest row of each partition arrived; on Kinesis only."""
        return position_checks.newest_arrivals(self._target, partitions)

    def origins(self, partitions: Collection[Partition]) -> Mapping[Partition, Position]:
        """Return the origins in the version that was opened last; only the clean table has some."""
        return origins.origins(self._read, self._target, partitions)

    def tips(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Return the tips in the version that was opened last; only the clean table has some."""
        found = {p: positions.tip(self._read, self._target.app, p) for p in partitions}
        return {p: at for p, at in found.items() if at is not None}

    def gaps(self, partitions: Collection[Partition]) -> Mapping[Partition, range]:
        """Return the accepted gaps in the version that was opened last; both tables have them."""
        found = {p: positions.read_gap(self._read, self._target.app, p) for p in partitions}
        return {p: gap for p, gap in found.items() if gap}

    def pin(self, starts: Mapping[str, Start]) -> None:
        """Commit where these sources begin to the clean table (see `sinks.delta.origins`)."""
        origins.pin(self._target, self._store, self._setup, self._table, starts, self._now_ms())

    def prepare(self, batch: Batch) -> Prepared:
        """Take what the table will not have by then; raises TopicRecreated for another epoch's."""
        seen = self._progress.unseen(batch)
        new = beyond(batch, seen)
        ranges = ledger.ranges(new, seen)
        rows: pl.DataFrame = getattr(new, self._target.stage)
        prepared = Prepared(
            ranges,
            None if rows.is_empty() else self._upload(rows),
            self._notes(batch),
            waits=not batch.notes,
            gaps={r.of: new.spans[r.of].gap(r.start) for r in ranges if r.expired},
            event_time=ledger.event_time(rows),
            made_by=(batch.transform_version, batch.window if self._target.rules else None),
            form=self._setup.form,
        )
        self._progress.see(ranges)
        return prepared

    def commit(self, prepared: Sequence[Prepared]) -> None:
        """Commit consecutive batches in one entry; what has no rows may wait for `defer` seconds.

        1. Compare every stored position with the one this sink knows.
        2. Commit files and positions as the next version; after a conflict, compare with that one.
        """
        for parts in groups(prepared):
            self._made_by = parts[-1].made_by
            ranges = [r for part in parts for r in part.ranges]
            if self._has_waited() or any(part.is_news for part in parts):
                self._commit(Due([*self._progress.deferred, *ranges], parts, self._now_ms()))
            else:
                self._progress.defer(ranges)

    def write(self, batch: Batch) -> None:
        """Prepare, upload and commit one batch; after an error the same call may be tried again."""
        prepared = self.prepare(batch)
        try:
            prepared.upload()
            self.commit([prepared])
        except BaseException:
            self._progress.unsee()
            raise

    def release(self, partitions: Collection[Partition]) -> None:
        """Forget what was deferred of them: their next owner reads it again."""
        self._progress.release(partitions)

    @property
    def is_overdue(self) -> bool:
        """Whether a deferred commit has waited for `defer` seconds."""
        return bool(self._progress.deferred) and self._has_waited()

    def settle(self) -> None:
        """Commit what was deferred, and prove that all commits are in the log.

        After StalePosition nothing of the moved partitions is left.
        """
        self._commit(Due(self._progress.deferred, (), self._now_ms()))
        if self._log is not None:
            self._log.prove()

    def close(self) -> None:
        """Commit what was deferred and is still ours; let a running checkpoint finish."""
        while self._progress.deferred:
            with suppress(StalePosition):
                self.settle()
        self._checkpoints.close()

    def _has_waited(self) -> bool:
        return self._clock.monotonic() - self._committed_at >= self._target.defer

    def _notes(self, batch: Batch) -> Mapping[Partition, Note]:
        """Return the notes to keep; the clean table keeps them for all."""
        told = batch.notes if self._target.stage == "clean" else {}
        return positions.kept(told, self._progress.seen)

    def _commit(self, due: Due) -> None:
        if not due.ranges and not due.notes:
            return
        moves = self._append(due, Version(self._told(due), due.now_ms, files=due.files))
        self._progress.move(moves)
        self._committed_at = self._clock.monotonic()

    def _upload(self, rows: pl.DataFrame) -> Upload:
        setup, folder = self._setup, self._target.folder
        named = rows if setup.column is None and not setup.differs else setup.fitted(rows)
        return Upload(self._store, named, setup.bounded, folder, self._now_ms())

    def _append(self, due: Due, entry: Version) -> Mapping[Partition, Position]:
        """Compare and commit, retrying conflicts; return the new positions."""
        for tried in range(1, _MAX_TRIES + 1):
            log = self._newest()
            self._refuse_another_form(due)
            moves = self._compare(log, due)
            self._refuse_another_pipeline(log, moves)
            txn_actions = list(self._transactions(log, moves, due))
            version = replace(entry, txns=txn_actions, metadata=self._setup.metadata)
            match log.append(version):
                case Committed(checkpoint):
                    self._committed(log, checkpoint)
                    return moves
                case Conflict(alters):
                    if alters or tried % _MAX_FOLLOWED == 0:
                        self._log = None
        raise TransientError(f"{self._target.uri}: other writers were faster {_MAX_TRIES} times")

    def _compare(self, log: CommitLog, due: Due) -> Mapping[Partition, Position]:
        """Return where each partition goes; StalePosition unless each is where this sink left it.

        With the position its epoch is what this sink knows: it is only ever written beside one.
        """
        target, moved = self._target, dict[Partition, str]()
        moves = {r.of: r.end for r in due.ranges}
        for partition, held in sorted(self._progress.held({*moves, *due.notes}).items()):
            stored = positions.read(log.txn_version, target.app, partition, target.coordinates)
            if stored != held:
                moved[partition] = f"{partition} from {held} to {stored}"
            elif partition in moves and held is not None and held.epoch is not None:
                moves[partition] = replace(moves[partition], epoch=held.epoch)
        if moved:
            self._progress.fence(moved)
            raise StalePosition(f"{self.name}: another writer moved {', '.join(moved.values())}")
        self._progress.follow(due.ranges, self._progress.held(moves))
        return moves

    def _refuse_another_form(self, due: Due) -> None:
        """Raise StalePosition for rows that were made before the table was changed."""
        if any(part.rows and part.form != self._setup.form for part in due.parts):
            raise StalePosition(f"{self._target.uri} has changed: its records are read again")

    def _refuse_another_pipeline(self, log: CommitLog, own: Mapping[Partition, Position]) -> None:
        if not positions.is_owned(log.txn_version, self._target.app):
            position_checks.refuse_another_pipeline(self._store, self._target, log, own)

    def _told(self, due: Due) -> str:
        entry = ledger.Entry(
            app=self._target.app,
            version=__version__,
            event_time=due.event_time,
            ranges=ledger.joined(due.ranges),
            rules=self._target.rules or None,
            window=self._made_by[1],
            where=self._target.where,
            transform_version=self._made_by[0] or None,
        )
        return ledger.encode(entry)

    def _transactions(
        self, log: CommitLog, moves: Mapping[Partition, Position], due: Due
    ) -> Iterator[Transaction]:
        """Yield the positions, and the actions that are written once: epochs, owner, begun."""
        target, lookup = self._target, log.txn_version
        app, now_ms = target.app, due.now_ms
        held = self._progress.held(moves)
        yield from positions.moved(lookup, app, held, moves, target.coordinates, now_ms)
        yield from positions.expired(lookup, app, due.ranges, due.gaps, now_ms)
        yield from positions.left_out(lookup, target, due.ranges, now_ms)
        yield from positions.noted(lookup, app, due.notes, now_ms)
        yield from positions.owned(lookup, app, now_ms)
        yield from self._setup.begun

    def _committed(self, log: CommitLog, checkpoint: Hint | None) -> None:
        if self._setup.metadata or self._setup.begun:
            self._setup.done()
        if is_checkpoint_due(log.version, checkpoint):
            self._checkpoints.start(log.recent.take())

    def _newest(self) -> CommitLog:
        """Return the cached log; open or create the table again if its version is gone."""
        if self._log is None or not self._log.is_here():
            self._log = self._opened(self._table())
        return self._log

    def _opened(self, found: DeltaTable) -> CommitLog:
        """Return the log at the table's version."""
        self._setup.learn(found)
        self._read = txns.versions(found, self._target.options)
        kept = cleanup.period(found.metadata().configuration.get(cleanup.PROPERTY))
        alert = kept is None or kept < LEAST_RETENTION
        return DeltaLog(self._store, found.version(), self._read, self._clock, alert=alert)

    def _table(self) -> DeltaTable:
        create = partial(self._setup.create, self._store, self._now_ms())
        return table.find_or_create(self._target, create)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
