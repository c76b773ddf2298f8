"""The Delta sink: rows and the positions they advance, in one commit."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import polars as pl
from deltalake import DeltaTable, Transaction
from deltalake.transaction import AddAction

from core import __version__
from core.batch import Batch, Note, Partition, Position, Positions, Rejects, Span
from core.clock import Clock
from core.errors import StalePosition, TransientError
from core.origins import Start
from core.topic_id import refuse_another
from sinks.delta import data_file, history, ledger, origins, position_checks, positions, table, txns
from sinks.delta.checkpoints import CheckpointWriter
from sinks.delta.commit_log import CommitLog, Committed, Conflict, Hint, Version
from sinks.delta.ledger import CommitRange
from sinks.delta.log import DeltaLog, is_checkpoint_due
from sinks.delta.positions import Lookup
from sinks.delta.setup import Setup
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store

_MAX_TRIES = 20  # of one commit, after conflicts
_MAX_FOLLOWED = 10  # conflicts in a row, then the table is opened again: that is faster


@dataclass
class _PartitionState:
    """How far one partition is: `held` in the table, `seen` with what was deferred."""

    held: Position | None
    seen: Position | None
    deferred: list[CommitRange] = field(default_factory=list)


@dataclass(frozen=True)
class _Due:
    """What one commit moves and stores; `gaps` are those that `ranges` tell of, for all sinks."""

    ranges: list[CommitRange]
    notes: Mapping[Partition, Note]
    now_ms: int
    gaps: Mapping[Partition, range] = field(default_factory=dict)


class DeltaSink:
    """A `Sink` on one Delta table, exactly once by compare-and-set on its `txn` actions."""

    def __init__(self, name: str, target: DeltaTarget, store: Store, clock: Clock) -> None:
        self.name = name
        self._target = target
        self._store = store
        self._clock = clock
        self._progress: dict[Partition, _PartitionState] = {}
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
            table.check(newest, target.uri, target.schema)
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
        self._progress |= {p: _PartitionState(held, held) for p, held in found.items()}
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

    def write(self, batch: Batch) -> None:
        """Commit the batch's rows that the table does not have, with their positions.

        1. Keep the spans and rows beyond the own positions; TopicRecreated if another epoch's.
        2. Write the rows to a data file that nothing refers to yet.
        3. Compare every stored position with the one this sink knows.
        4. Commit file and positions as the next version; after a conflict, compare with that one.
        """
        self._made_by = batch.transform_version, batch.window if self._target.rules else None
        seen = {p: self._progress[p].seen for p, s in batch.spans.items() if self._is_news(p, s)}
        new = _beyond(batch, seen)
        ranges = ledger.ranges(new, seen)
        rows: pl.DataFrame = getattr(new, self._target.stage)
        gaps = {r.of: new.spans[r.of].gap(r.start) for r in ranges if r.expired}
        if rows.is_empty() and not (self._has_waited() or batch.notes or gaps):
            for r in ranges:
                self._progress[r.of].deferred.append(r)
                self._progress[r.of].seen = r.end
        else:
            told = self._notes(batch) if self._target.stage == "clean" else {}
            self._commit(rows, _Due([*self._deferred(), *ranges], told, self._now_ms(), gaps))

    @property
    def is_overdue(self) -> bool:
        """Whether a deferred commit has waited for `defer` seconds."""
        return bool(self._deferred()) and self._has_waited()

    def settle(self) -> None:
        """Commit what was deferred; after StalePosition nothing of the moved partitions is left."""
        nothing = pl.DataFrame(schema=self._target.schema)
        self._commit(nothing, _Due(self._deferred(), {}, self._now_ms()))

    def close(self) -> None:
        """Commit what was deferred and is still ours; let a running checkpoint finish."""
        while self._deferred():
            with suppress(StalePosition):
                self.settle()
        self._checkpoints.close()

    def _is_news(self, partition: Partition, span: Span) -> bool:
        if partition not in self._progress:
            raise StalePosition(f"{self.name}: the position of {partition} was not read yet")
        held = self._progress[partition].held
        if held is not None and not held.agrees(span.end.epoch):
            refuse_another(partition, held, span.end.epoch, self._target.coordinates)
        seen = self._progress[partition].seen
        if span.start is not None and (seen is None or span.start > seen):
            raise StalePosition(
                f"{self.name}: {partition} was read from {span.start}, held: {seen}"
            )
        return seen is None or span.end > seen

    def _has_waited(self) -> bool:
        return self._clock.monotonic() - self._committed_at >= self._target.defer

    def _deferred(self) -> list[CommitRange]:
        return [r for progress in self._progress.values() for r in progress.deferred]

    def _notes(self, batch: Batch) -> Mapping[Partition, Note]:
        return positions.kept(batch.notes, {p: own.seen for p, own in self._progress.items()})

    def _commit(self, rows: pl.DataFrame, due: _Due) -> None:
        if not due.ranges and not due.notes:
            return
        files = [] if rows.is_empty() else [self._put(rows, due.now_ms)]
        moves = self._append(due, Version(self._told(rows, due), due.now_ms, files=files))
        self._progress |= {p: _PartitionState(end, end) for p, end in moves.items()}
        self._committed_at = self._clock.monotonic()

    def _put(self, rows: pl.DataFrame, now_ms: int) -> AddAction:
        setup, folder = self._setup, self._target.folder
        named = rows if setup.column is None and not setup.differs else setup.fitted(rows)
        return data_file.put(self._store, named, setup.bounded, folder, now_ms)

    def _append(self, due: _Due, entry: Version) -> Mapping[Partition, Position]:
        """Compare and commit, retrying conflicts; return the new positions."""
        for tried in range(1, _MAX_TRIES + 1):
            log = self._newest()
            moves = self._compare(log, due)
            self._refuse_another_pipeline(log, moves)
            txn_actions = list(self._transactions(log, moves, due))
            version = replace(entry, txns=txn_actions, metadata=self._setup.metadata)
            match log.append(version):
                case Committed(checkpoint):
                    self._committed(log.version, checkpoint)
                    return moves
                case Conflict(alters):
                    if alters or tried % _MAX_FOLLOWED == 0:
                        self._log = None
        raise TransientError(f"{self._target.uri}: other writers were faster {_MAX_TRIES} times")

    def _compare(self, log: CommitLog, due: _Due) -> Mapping[Partition, Position]:
        """Return where each partition goes; StalePosition unless each is where this sink left it.

        With the position its epoch is what this sink knows: it is only ever written beside one.
        """
        target, moved = self._target, []
        moves = {r.of: r.end for r in due.ranges}
        for partition in sorted({*moves, *due.notes} & self._progress.keys()):
            stored = positions.read(log.txn_version, target.app, partition, target.coordinates)
            held = self._progress[partition].held
            if stored != held:
                moved.append(f"{partition} from {held} to {stored}")
                del self._progress[partition]  # fenced: its position must be read again
            elif partition in moves and held is not None and held.epoch is not None:
                moves[partition] = replace(moves[partition], epoch=held.epoch)
        if moved:
            raise StalePosition(f"{self.name}: another writer moved {', '.join(moved)}")
        return moves

    def _refuse_another_pipeline(self, log: CommitLog, own: Mapping[Partition, Position]) -> None:
        if not positions.is_owned(log.txn_version, self._target.app):
            position_checks.refuse_another_pipeline(self._store, self._target, log, own)

    def _told(self, rows: pl.DataFrame, due: _Due) -> str:
        entry = ledger.Entry(
            app=self._target.app,
            version=__version__,
            event_time=ledger.event_time(rows),
            ranges=ledger.joined(due.ranges),
            rules=self._target.rules or None,
            window=self._made_by[1],
            where=self._target.where,
            transform_version=self._made_by[0] or None,
        )
        return ledger.encode(entry)

    def _transactions(
        self, log: CommitLog, moves: Mapping[Partition, Position], due: _Due
    ) -> Iterator[Transaction]:
        """Yield the positions, and the actions that are written once: epochs, owner, begun."""
        target, lookup = self._target, log.txn_version
        app, now_ms = target.app, due.now_ms
        held = {p: self._progress[p].held for p in moves}
        yield from positions.moved(lookup, app, held, moves, target.coordinates, now_ms)
        yield from positions.expired(lookup, app, due.ranges, due.gaps, now_ms)
        yield from positions.left_out(lookup, target, due.ranges, now_ms)
        yield from positions.noted(lookup, app, due.notes, now_ms)
        yield from positions.owned(lookup, app, now_ms)
        yield from self._setup.begun

    def _committed(self, version: int, checkpoint: Hint | None) -> None:
        if self._setup.metadata or self._setup.begun:
            self._setup.done()
        if is_checkpoint_due(version, checkpoint):
            self._checkpoints.start()

    def _newest(self) -> CommitLog:
        """Return the cached log; open or create the table again if its version is gone."""
        if self._log is None or not self._log.is_here():
            self._log = self._opened(self._table())
        return self._log

    def _opened(self, found: DeltaTable) -> CommitLog:
        """Return the log at the table's version."""
        self._setup.learn(found)
        self._read = txns.versions(found, self._target.options)
        return DeltaLog(self._store, found.version(), self._read)

    def _table(self) -> DeltaTable:
        own, create = self._target, partial(self._setup.create, self._store, self._now_ms())
        return table.find_or_create(own.uri, own.options, own.schema, create)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


def _beyond(batch: Batch, seen: Positions) -> Batch:
    """Return the rows and spans of `batch` that are beyond `seen`, of the partitions in it."""
    if {p: span.start for p, span in batch.spans.items()} == seen:
        return batch
    rows = batch.coordinates.beyond(seen)
    raw, clean, rejected = (f.filter(rows) for f in (batch.raw, batch.clean, batch.rejected))
    out = None if batch.left_out is None else batch.left_out.filter(rows)
    spans = {p: span for p, span in batch.spans.items() if p in seen}
    return replace(batch, raw=raw, clean=clean, rejected=rejected, spans=spans, left_out=out)
