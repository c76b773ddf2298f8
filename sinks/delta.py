"""The Delta sink: rows and the positions they advance, in one commit."""

from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import polars as pl
import structlog
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.transaction import AddAction, RemoveAction

from pinpip import __version__
from pinpip.batch import Batch, Coordinates, Partition, Position, Span
from pinpip.clock import Clock
from pinpip.errors import PositionLost, SinkError, StalePosition
from sinks import datafile, ledger, table, transactions
from sinks.store import Store

CHECKPOINT_EVERY = 100
_log = structlog.get_logger()
_QUIET = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


@dataclass(frozen=True)
class Target:
    """One table: where it is, what it holds, and under which name its positions are kept.

    `stage` names the frame of a batch that becomes rows; `defer` is for how many seconds a
    commit that has no rows may wait for one that has (0: never; a crash re-reads that much).
    """

    uri: str
    options: dict[str, str]
    schema: pl.Schema
    coordinates: Coordinates
    app: str
    stage: Literal["clean", "rejected"] = "clean"
    defer: float = 0.0


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
        self._table: DeltaTable | None = None
        self._committed_at = clock.monotonic()
        self._maintainer = ThreadPoolExecutor(1, thread_name_prefix=f"checkpoint-{name}")
        self._checkpoint: Future[None] | None = None
        self._checkpointed = 0

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """The positions in the table, read afresh.

        Raises PositionLost when the table has rows of a partition but no position for it.
        """
        self._table = table.find(self._target.uri, self._target.options)
        if self._table is None:
            found: dict[Partition, Position | None] = dict.fromkeys(partitions)
        else:
            table.check(self._table, self._target.uri, self._target.schema)
            found = {p: self._stored(self._table, p) for p in partitions}
            self._refuse_lost(self._table, [p for p, at in found.items() if at is None])
        self._progress |= {p: _Progress(held, held) for p, held in found.items()}
        return found

    def write(self, batch: Batch) -> None:
        """Commit the batch's rows that the table does not hold, with their positions.

        1. Keep the spans and rows beyond the own positions.
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
        moves = self._compare(snapshot, ranges)
        with table.sorted_errors(self._target.uri):
            snapshot.create_write_transaction(
                files,
                "append",
                snapshot.schema(),
                commit_properties=self._properties(snapshot, moves, ranges, rows, now_ms),
                post_commithook_properties=_QUIET,
            )
        self._progress |= {p: _Progress(end, end) for p, end in moves.items()}
        self._committed_at = self._clock.monotonic()

    def _put(self, rows: pl.DataFrame, now_ms: int) -> AddAction:
        body = datafile.encode(rows)
        action = datafile.add_action(rows, len(body), self._target.coordinates, now_ms)
        if not self._store.put_new(action.path, body, {}):
            raise SinkError(f"{action.path} is already in {self._target.uri}", "try again")
        return action

    def _compare(
        self, snapshot: DeltaTable, ranges: list[ledger.Range]
    ) -> Mapping[Partition, Position]:
        """Where each partition goes, if each is still where this sink left it."""
        moves = {r.of: r.end for r in ranges}
        for partition in moves:
            stored = self._stored(snapshot, partition)
            held = self._progress[partition].held
            if stored != held:
                del self._progress[partition]  # it may be another's by now: do not try it again
                raise StalePosition(
                    f"{self.name}: another writer moved {partition} from {held} to {stored}"
                )
        return moves

    def _properties(
        self,
        snapshot: DeltaTable,
        moves: Mapping[Partition, Position],
        ranges: list[ledger.Range],
        rows: pl.DataFrame,
        now_ms: int,
    ) -> CommitProperties:
        target = self._target
        ids = {transactions.app_id(target.app, p): end for p, end in moves.items()}
        entry = ledger.Entry(
            app=target.app,
            version=__version__,
            event_time=ledger.event_time(rows),
            ranges=ledger.joined(ranges),
        )
        txns = [
            txn
            for own, end in ids.items()
            for txn in transactions.write(
                snapshot.transaction_version, own, end, target.coordinates, now_ms
            )
        ]
        return CommitProperties(
            custom_metadata={ledger.KEY: ledger.encode(entry)}, app_transactions=txns
        )

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

    def _refuse_lost(self, snapshot: DeltaTable, partitions: list[Partition]) -> None:
        """None must mean "nothing here": rows without a position would be read twice.

        Both are of one snapshot: another consumer may commit its first rows meanwhile.
        """
        if not partitions:
            return
        target = self._target
        held = pl.scan_delta(snapshot, storage_options=target.options)
        for partition in partitions:
            rows = held.filter(target.coordinates.of(partition)).head(1).collect()
            if not rows.is_empty():
                raise PositionLost(
                    f"table {target.uri} has rows of {partition} but no position for it under "
                    f"{target.app}",
                    "was the pipeline renamed? Give it its old name, or name a new table",
                )
