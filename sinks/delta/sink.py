"""The Delta sink: rows and the positions they advance, in one commit."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import polars as pl
from deltalake import DeltaTable, Transaction

from core import __version__
from core.batch import Batch, Partition, Position, Rejects, Span
from core.clock import Clock
from core.errors import StalePosition, TransientError
from core.origins import Start
from core.topic_id import refuse_another
from sinks.delta import (
    data_file,
    deltalog,
    expired,
    ledger,
    new_table,
    notes,
    owner,
    pins,
    position_checks,
    table,
    transactions,
    txns,
    windows,
)
from sinks.delta.checkpoints import Checkpoints
from sinks.delta.deltalog import Action, Log
from sinks.delta.progress import Due, Progress
from sinks.delta.setup import Setup
from sinks.delta.target import Target
from sinks.delta.transactions import Lookup
from sinks.storage.protocol import Store

_TRIES = 20  # of one commit, each after another writer's
_FOLLOWED = 10  # entries of others, one by one: to open the newest version is quicker than more


class DeltaSink:
    """A `Sink` on one Delta table, exactly once by compare-and-set on its `txn` actions."""

    def __init__(self, name: str, target: Target, store: Store, clock: Clock) -> None:
        self.name = name
        self._target = target
        self._store = store
        self._clock = clock
        self._progress: dict[Partition, Progress] = {}
        self._log: Log | None = None
        self._setup = Setup(target)
        self._versions: Lookup = lambda _: None
        self._window: Rejects | None = None
        self._committed_at = clock.monotonic()
        self._checkpoints = Checkpoints(name, target.uri, target.options, store)

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """The positions in the table, read afresh.

        Raises PositionLost when the table has rows of a partition but no position for it, or rows
        beyond it.
        """
        target = self._target
        self._store.prove()
        self._log = None
        newest = table.find_to_write(target.uri, target.options)
        log: Log | None = None
        if newest is None:
            found: dict[Partition, Position | None] = dict.fromkeys(partitions)
            self._setup.see(None)
        else:
            table.check(newest, target.uri, target.schema)
            with table.sorted_errors(target.uri):
                self._setup.see(newest)
            log = self._learnt(newest, set(self._progress) - set(partitions))
            lookup = log.learning(self._versions)
            with table.sorted_errors(target.uri):  # to look a position up may read the log
                found = {
                    p: transactions.read_with_epoch(lookup, target.app, p, target.coordinates)
                    for p in partitions
                }
                position_checks.check(newest, target, found, self._versions)
                owner.refuse_another(self._store, target, log, found)
        self._log = log
        self._progress |= {p: Progress(held, held) for p, held in found.items()}
        return found

    def rejects(self, partitions: Collection[Partition]) -> Sequence[Rejects]:
        """From the newest commits of the version that `positions` read."""
        if self._log is None or not self._target.rules:
            return ()
        target = self._target
        return windows.newest(self._store, self._log.version, target.app, target.rules, partitions)

    def arrivals(self, partitions: Collection[Partition]) -> Mapping[Partition, datetime]:
        """When the newest row of each partition arrived; on Kinesis only."""
        return position_checks.newest_arrivals(self._target, partitions)

    def origins(self, partitions: Collection[Partition]) -> Mapping[Partition, Position]:
        """As of the version that was read last; only the clean table keeps them."""
        return pins.origins(self._versions, self._target, partitions)

    def tips(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """As of the version that was read last; only the clean table keeps them."""
        found = {p: notes.tip(self._versions, self._target.app, p) for p in partitions}
        return {p: at for p, at in found.items() if at is not None}

    def gaps(self, partitions: Collection[Partition]) -> Mapping[Partition, range]:
        """As of the version that was read last; both tables keep them."""
        found = {p: transactions.read_gap(self._versions, self._target.app, p) for p in partitions}
        return {p: gap for p, gap in found.items() if gap}

    def pin(self, starts: Mapping[str, Start]) -> None:
        """Commit where these sources begin to the clean table (see `sinks.delta.pins`)."""
        pins.pin(self._target, self._store, self._setup, self._table, starts, self._now_ms())

    def write(self, batch: Batch) -> None:
        """Commit the batch's rows that the table does not hold, with their positions.

        1. Keep the spans and rows beyond the own positions; TopicRecreated if another epoch's.
        2. Write the rows to a data file that nothing refers to yet.
        3. Compare every stored position with the one this sink knows.
        4. Commit the file and the new positions at once, as the version after the compared one;
           when another writer was there first, go on from its version at step 3.
        """
        self._window = batch.window if self._target.rules else None
        ranges = self._ranges(batch)
        rows = self._rows(batch, ranges)
        gaps = {r.of: batch.spans[r.of].gap(r.start) for r in ranges if r.expired}
        if self._may_wait(rows) and not batch.notes and not gaps:
            for r in ranges:
                self._progress[r.of].put_off.append(r)
                self._progress[r.of].seen = r.end
        else:
            seen = {p: own.seen for p, own in self._progress.items()}
            told = notes.kept(batch.notes, seen) if self._target.stage == "clean" else {}
            self._commit(rows, Due([*self._put_off(), *ranges], told, self._now_ms(), gaps))

    def close(self) -> None:
        """Commit what was put off and let a running checkpoint finish."""
        nothing = pl.DataFrame(schema=self._target.schema)
        self._commit(nothing, Due(self._put_off(), {}, self._now_ms()))
        self._checkpoints.close()

    def _ranges(self, batch: Batch) -> list[ledger.Range]:
        """The stretches of the batch that lie beyond what this sink has seen."""
        news = {p: s for p, s in batch.spans.items() if self._is_news(p, s)}
        seen = {p: self._progress[p].seen for p in news}
        whole = all(span.start == seen[p] for p, span in news.items())
        read, clean, quarantined = batch.counts
        if not whole or len(news) < len(batch.spans):
            frames = (batch.raw, batch.clean, batch.rejected)
            left = (frame.filter(batch.coordinates.beyond(seen)) for frame in frames)
            read, clean, quarantined = map(batch.coordinates.counts, left)
        return [
            ledger.Range(
                source=p.source,
                partition=p.id,
                start=seen[p],
                end=span.end,
                read=read.get(p, 0),
                clean=clean.get(p, 0),
                quarantined=quarantined.get(p, 0),
                expired=span.expired(seen[p]),
            )
            for p, span in news.items()
        ]

    def _is_news(self, partition: Partition, span: Span) -> bool:
        if partition not in self._progress:
            raise StalePosition(f"{self.name}: the position of {partition} was not read yet")
        held = self._progress[partition].held
        refuse_another(partition, held, span.end.epoch, self._target.coordinates)
        seen = self._progress[partition].seen
        if span.start is not None and (seen is None or span.start > seen):
            raise StalePosition(
                f"{self.name}: {partition} was read from {span.start}, held: {seen}"
            )
        return seen is None or span.end > seen

    def _rows(self, batch: Batch, ranges: list[ledger.Range]) -> pl.DataFrame:
        frame: pl.DataFrame = getattr(batch, self._target.stage)
        rows = sum(r.clean if self._target.stage == "clean" else r.quarantined for r in ranges)
        if rows == frame.height:
            return frame
        return frame.filter(batch.coordinates.beyond({r.of: r.start for r in ranges}))

    def _may_wait(self, rows: pl.DataFrame) -> bool:
        waited = self._clock.monotonic() - self._committed_at
        return rows.is_empty() and waited < self._target.defer

    def _put_off(self) -> list[ledger.Range]:
        return [r for progress in self._progress.values() for r in progress.put_off]

    def _commit(self, rows: pl.DataFrame, due: Due) -> None:
        if not due.ranges and not due.notes:
            return
        put = partial(data_file.put, self._store, bounded=self._setup.bounded)
        put = partial(put, folder=self._target.folder, now_ms=due.now_ms)
        files = [] if rows.is_empty() else [deltalog.add(put(self._setup.named(rows)))]
        info = self._info(rows, due)
        moves = self._append(due, info, files)
        self._progress |= {p: Progress(end, end) for p, end in moves.items()}
        self._committed_at = self._clock.monotonic()

    def _append(self, due: Due, info: Action, others: list[Action]) -> Mapping[Partition, Position]:
        """Compare and commit, until no other writer was there in between; where that leads."""
        for tried in range(1, _TRIES + 1):
            log = self._newest()
            moves = self._compare(log, due)
            owner.refuse_another(self._store, self._target, log, moves)
            moved = self._transactions(log, moves, due)
            entry = [info, *self._setup.actions, *map(deltalog.txn, moved), *others]
            landed = log.append(entry)
            if landed is entry:
                self._setup.done()
                self._checkpoints.committed(log.version, log.checkpoint)
                return moves
            if deltalog.alters(landed) or tried % _FOLLOWED == 0:
                self._log = None
        raise TransientError(f"{self._target.uri}: other writers were faster {_TRIES} times")

    def _compare(self, log: Log, due: Due) -> Mapping[Partition, Position]:
        """Where each partition goes, if each is still where this sink left it.

        With the position its epoch is what this sink knows: it is only ever written beside one.
        """
        moves = {r.of: r.end for r in due.ranges}
        moved = []
        for partition in sorted({*moves, *due.notes} & self._progress.keys()):
            stored = self._stored(log.transaction_version, partition)
            held = self._progress[partition].held
            if stored != held:
                moved.append(f"{partition} from {held} to {stored}")
                del self._progress[partition]  # it may be another's by now: do not try it again
            elif partition in moves and held is not None and held.epoch is not None:
                moves[partition] = replace(moves[partition], epoch=held.epoch)
        if moved:
            raise StalePosition(f"{self.name}: another writer moved {', '.join(moved)}")
        return moves

    def _info(self, rows: pl.DataFrame, due: Due) -> Action:
        entry = ledger.Entry(
            app=self._target.app,
            version=__version__,
            event_time=ledger.event_time(rows),
            ranges=ledger.joined(due.ranges),
            rules=self._target.rules or None,
            window=self._window,
        )
        told = {ledger.KEY: ledger.encode(entry)}
        return deltalog.commit_info(told, f"pinpip/{__version__}", due.now_ms)

    def _transactions(
        self, log: Log, moves: Mapping[Partition, Position], due: Due
    ) -> Iterator[Transaction]:
        """The positions; what never changes again only once: the epochs, and that this began."""
        target, now_ms, lookup = self._target, due.now_ms, log.learning(self._versions)
        held = {p: self._progress[p].held for p in moves}
        yield from transactions.moved(lookup, target.app, held, moves, target.coordinates, now_ms)
        yield from expired.written(lookup, target.app, due)
        yield from notes.written(lookup, target.app, due.notes, now_ms)
        yield from owner.claim(lookup, target.app, now_ms)
        yield from self._setup.begun(now_ms)

    def _stored(self, lookup: Lookup, partition: Partition) -> Position | None:
        return transactions.read(lookup, self._target.app, partition, self._target.coordinates)

    def _newest(self) -> Log:
        """The log as far as it was followed; if that is gone, of the table opened anew, or made."""
        if self._log is None or not self._log.is_here():
            self._log = self._learnt(self._table(), self._progress)
        return self._log

    def _table(self) -> DeltaTable:
        own = self._target
        return table.find_or_create(own.uri, own.options, own.schema, self._create)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    def _create(self) -> None:
        schema, told = self._setup.schema(), self._setup.configuration()
        new_table.create(self._store, schema, told, f"pinpip/{__version__}", self._now_ms())

    def _learnt(self, found: DeltaTable, partitions: Collection[Partition]) -> Log:
        """The log at the table's version, with the stored positions of `partitions`."""
        self._setup.learn(found)
        log = Log(self._store, found.version())
        self._versions = txns.versions(found, self._target.options)
        lookup = log.learning(self._versions)
        with table.sorted_errors(self._target.uri):  # to look a position up may read the log
            lookup(owner.ID)
            for partition in partitions:
                self._stored(lookup, partition)
        return log
