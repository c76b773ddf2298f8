"""The Delta sink: rows and the positions they advance, in one commit."""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl
import structlog
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.transaction import AddAction, RemoveAction

from pinpip import __version__
from pinpip.batch import Batch, Coordinates, Partition, Position, Span
from pinpip.clock import Clock
from pinpip.epochs import refuse_another
from pinpip.errors import StalePosition
from sinks import datafile, guard, ledger, table, transactions
from sinks.store import Store

CHECKPOINT_EVERY = 100
_log = structlog.get_logger()
_QUIET = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


@dataclass(frozen=True)
class Target:
    """One table: where it is, what it holds, and under which name its positions are kept.

    `stage` names the frame of a batch that becomes rows; `defer` is for how many seconds a
    commit that has no rows may wait for one that has (0: never; a crash re-reads that much).
    `folder` is where the files of this incarnation lie (see `sinks.rows`); `begins` lets it begin
    in a table that holds rows of another.
    """

    uri: str
    options: dict[str, str]
    schema: pl.Schema
    coordinates: Coordinates
    app: str
    stage: Literal["clean", "rejected"] = "clean"
    defer: float = 0.0
    folder: str = ""
    begins: bool = False


@dataclass
class _Progress:
    """How far one partition is: `held` in the table, `seen` with what was put off."""

    held: Position | None
    seen: Position | None
    put_off: list[ledger.Range] = field(default_factory=list)


class DeltaSink:
    """A `Sink` on one Delta table, exactly once by compare-and-set on its `txn` actions."""

    def __init__(self, name: str, target: Target, store: Store, clock: Clock) -> None:
        self.name = name
        self._target = target
        self._store = store
        self._clock = clock
        self._progress: dict[Partition, _Progress] = {}
        self._begun = False
        self._table: DeltaTable | None = None
        self._committed_at = clock.monotonic()
        self._maintainer = ThreadPoolExecutor(1, thread_name_prefix=f"checkpoint-{name}")
        self._checkpoint: Future[None] | None = None
        self._checkpointed = 0

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """The positions in the table, read afresh.

        Raises PositionLost when the table has rows of a partition but no position for it, or rows
        beyond it.
        """
        target = self._target
        self._table = table.find(target.uri, target.options)
        if self._table is None:
            found: dict[Partition, Position | None] = dict.fromkeys(partitions)
        else:
            table.check(self._table, target.uri, target.schema)
            lookup = self._table.transaction_version
            with table.sorted_errors(target.uri):  # to look a position up may read the log
                found = {
                    p: transactions.read_with_epoch(lookup, target.app, p, target.coordinates)
                    for p in partitions
                }
                self._guard(self._table, found)
        self._progress |= {p: _Progress(held, held) for p, held in found.items()}
        return found

    def write(self, batch: Batch) -> None:
        """Commit the batch's rows that the table does not hold, with their positions.

        1. Keep the spans and rows beyond the own positions; TopicRecreated if another epoch's.
        2. Write the rows to a data file that nothing refers to yet.
        3. Compare every stored position with the one this sink knows.
        4. Commit the file and the new positions at once; delta-rs refuses the commit when
           another one with the same app id landed since step 3.
        """
        ranges = self._ranges(batch)
        rows = self._rows(batch, ranges)
        if self._may_wait(rows):
            for r in ranges:
                self._progress[r.of].put_off.append(r)
                self._progress[r.of].seen = r.end
        elif ranges:
            self._commit(rows, [*self._put_off(), *ranges])

    def close(self) -> None:
        """Commit what was put off and let a running checkpoint finish."""
        put_off = self._put_off()
        if put_off:
            self._commit(pl.DataFrame(schema=self._target.schema), put_off)
        self._maintainer.shutdown()

    def _guard(self, snapshot: DeltaTable, found: Mapping[Partition, Position | None]) -> None:
        target = self._target
        lost = [p for p, position in found.items() if position is None]
        if lost or target.begins:
            self._begun = snapshot.transaction_version(target.app) is not None
        guard.refuse_lost(snapshot, target, lost, begun=self._begun or target.begins)
        guard.refuse_rewound(snapshot, target, {p: at for p, at in found.items() if at})

    def _ranges(self, batch: Batch) -> list[ledger.Range]:
        """The stretches of the batch that lie beyond what this sink has seen."""
        news = {p: s for p, s in batch.spans.items() if self._is_news(p, s)}
        seen = {p: self._progress[p].seen for p in news}
        whole = all(span.start == seen[p] for p, span in news.items())
        frames = [batch.raw, batch.clean, batch.rejected]
        if not whole or len(news) < len(batch.spans):
            frames = [frame.filter(batch.coordinates.beyond(seen)) for frame in frames]
        read, clean, quarantined = map(batch.coordinates.counts, frames)
        return [
            ledger.Range(
                source=p.source,
                partition=p.id,
                start=seen[p],
                end=span.end,
                read=read.get(p, 0),
                clean=clean.get(p, 0),
                quarantined=quarantined.get(p, 0),
            )
            for p, span in news.items()
        ]

    def _is_news(self, partition: Partition, span: Span) -> bool:
        if partition not in self._progress:
            raise StalePosition(f"{self.name}: the position of {partition} was not read yet")
        refuse_another(partition, self._progress[partition].held, span.end.epoch)
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

    def _commit(self, rows: pl.DataFrame, ranges: list[ledger.Range]) -> None:
        now_ms = int(self._clock.now().timestamp() * 1000)
        files: list[AddAction | RemoveAction] = [] if rows.is_empty() else [self._put(rows, now_ms)]
        snapshot = self._snapshot()
        with table.sorted_errors(self._target.uri):  # to look a position up may read the log
            moves = self._compare(snapshot, ranges)
            snapshot.create_write_transaction(
                files,
                "append",
                snapshot.schema(),
                commit_properties=self._properties(snapshot, moves, ranges, rows, now_ms),
                post_commithook_properties=_QUIET,
            )
        self._progress |= {p: _Progress(end, end) for p, end in moves.items()}
        self._begun = self._begun or self._target.begins
        self._committed_at = self._clock.monotonic()

    def _put(self, rows: pl.DataFrame, now_ms: int) -> AddAction:
        body = datafile.encode(rows)
        target = self._target
        action = datafile.add_action(rows, len(body), target.coordinates, target.folder, now_ms)
        self._store.put_new(action.path, body, {})  # a name nobody else has: taken, it is ours
        return action

    def _compare(
        self, snapshot: DeltaTable, ranges: list[ledger.Range]
    ) -> Mapping[Partition, Position]:
        """Where each partition goes, if each is still where this sink left it.

        With the position its epoch is what this sink knows: it is only ever written beside one.
        """
        moves = {r.of: r.end for r in ranges}
        moved = []
        for partition, end in moves.items():
            stored = self._stored(snapshot, partition)
            held = self._progress[partition].held
            if stored != held:
                moved.append(f"{partition} from {held} to {stored}")
                del self._progress[partition]  # it may be another's by now: do not try it again
            elif held is not None and held.epoch is not None:
                moves[partition] = replace(end, epoch=held.epoch)
        if moved:
            raise StalePosition(f"{self.name}: another writer moved {', '.join(moved)}")
        return moves

    def _properties(
        self,
        snapshot: DeltaTable,
        moves: Mapping[Partition, Position],
        ranges: list[ledger.Range],
        rows: pl.DataFrame,
        now_ms: int,
    ) -> CommitProperties:
        entry = ledger.Entry(
            app=self._target.app,
            version=__version__,
            event_time=ledger.event_time(rows),
            ranges=ledger.joined(ranges),
        )
        return CommitProperties(
            custom_metadata={ledger.KEY: ledger.encode(entry)},
            app_transactions=list(self._transactions(snapshot, moves, now_ms)),
        )

    def _transactions(
        self, snapshot: DeltaTable, moves: Mapping[Partition, Position], now_ms: int
    ) -> Iterator[Transaction]:
        """The positions; what never changes again only once: the epochs, and that this began."""
        target = self._target
        lookup = snapshot.transaction_version
        for partition, end in moves.items():
            own = transactions.app_id(target.app, partition)
            yield from transactions.write(lookup, own, end, target.coordinates, now_ms)
            held = self._progress[partition].held
            if end.epoch is not None and (held is None or held.epoch is None):
                yield transactions.write_epoch(own, end.epoch, now_ms)
        if target.begins and not self._begun:
            yield Transaction(target.app, 1, now_ms)

    def _stored(self, snapshot: DeltaTable, partition: Partition) -> Position | None:
        target = self._target
        lookup = snapshot.transaction_version
        return transactions.read(lookup, target.app, partition, target.coordinates)

    def _snapshot(self) -> DeltaTable:
        """The newest version, on one object from here to the commit.

        Its cost grows with the commits the object has seen, so it is opened anew after each
        checkpoint, which is written beside the commit path.
        """
        target = self._target
        if self._table is None or self._is_checkpointed():
            self._table = table.find_or_create(target.uri, target.options, target.schema)
        else:
            with table.sorted_errors(target.uri):
                self._table.update_incremental()
        self._checkpoint_if_due(self._table.version())
        return self._table

    def _checkpoint_if_due(self, version: int) -> None:
        due = version // CHECKPOINT_EVERY > self._checkpointed // CHECKPOINT_EVERY
        if due and self._checkpoint is None:
            self._checkpointed = version
            submit = self._maintainer.submit
            self._checkpoint = submit(table.checkpoint, self._target.uri, self._target.options)

    def _is_checkpointed(self) -> bool:
        """Whether a checkpoint was finished since the last call."""
        if self._checkpoint is None or not self._checkpoint.done():
            return False
        finished, self._checkpoint = self._checkpoint, None
        failure = finished.exception()
        if failure is not None:
            _log.warning("checkpoint_failed", table=self._target.uri, error=str(failure))
        return True
