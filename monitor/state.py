"""What a consumer remembers of one pipeline; metrics, health and page are read from it."""

import threading
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import partial
from math import inf

import polars as pl

from core.batch import Batch, Partition, Positions, Records
from core.clock import Clock
from core.errors import StalePosition
from core.observer import FOREVER, Horizon
from core.pipeline import quarantine_of
from core.retry import Outage
from monitor import health
from monitor.health import Facts
from monitor.progress import Progress
from monitor.recent import Recent, Sample
from monitor.rejects import RejectMemory
from monitor.totals import Totals
from monitor.view import OutageView, PartitionView, PipelineView, State


class PipelineState:
    """An `Observer` of one pipeline that any thread may ask.

    `reads` and `table`: the source and the clean table, for people; `budget`: bytes that the
    pipeline may hold; `max_wait`: seconds that a record may wait for others.
    """

    def __init__(
        self,
        name: str,
        reads: str,
        table: str,
        clock: Clock,
        budget: int,
        max_wait: float = 0.0,
    ) -> None:
        self._max_wait = max_wait
        self.name, self.reads, self.table, self.budget = name, reads, table, budget
        self.totals = Totals()
        self.held = 0
        self.last_commit: datetime | None = None
        self.last_turn: datetime | None = None
        self.started_at = clock.now()
        self.rejects = RejectMemory()
        self._clock = clock
        self._lock = threading.RLock()
        self._born = clock.monotonic()
        self._turned: float | None = None
        self._committed = self._born
        self._heard: dict[Partition, float] = {}
        self._lost: float | None = None  # when a source that fell silent last responded
        self._partitions: dict[Partition, Progress] = {}
        self._assigned: set[Partition] = set()
        self._outages: list[Outage] = []
        self._recent = Recent()
        self._error: str | None = None
        self._word: tuple[str, datetime] = ("", self.started_at)

    def outage(self, part: str) -> Outage:
        """Make what hears of the faults of a part, and is told as long as the process runs."""
        endpoints = {
            "source": self.reads,
            "clean": self.table,
            "quarantine": quarantine_of(self.table),
        }
        about = {"pipeline": self.name, "endpoint": endpoints.get(part, "")}
        made = Outage(part, self._clock, partial(self._retried, part), about)
        self._outages.append(made)
        return made

    def turned(self, held: int) -> None:
        """Note the turn, and take a sample every few seconds."""
        with self._lock:
            self._turned, self.last_turn, self.held = (
                self._clock.monotonic(),
                self._clock.now(),
                held,
            )
            self._sample_if_due()

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Note the partitions; they are shown once their position is known."""
        with self._lock:
            self._assigned |= set(partitions)
            self._lost = None
            self.totals.rebalances += bool(partitions)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Forget the partitions."""
        with self._lock:
            self._assigned -= set(partitions)
            self.totals.rebalances += bool(partitions)
            heard = [self._heard.pop(p) for p in partitions if p in self._heard]
            if heard and self._clock.monotonic() - max(heard) > health.LOST_S:
                self._lost = max(heard)  # the session has expired: brokers do not respond
            for partition in partitions:
                self._partitions.pop(partition, None)

    def started(self, positions: Positions) -> None:
        """Note where the sinks are."""
        now = self._clock.monotonic()
        with self._lock:
            self._partitions |= {p: Progress(at) for p, at in positions.items()}
            self._heard |= dict.fromkeys(positions, now)

    def reached(self, horizons: Mapping[Partition, Horizon]) -> None:
        """Note where partitions end."""
        now = self._clock.monotonic()
        with self._lock:
            was_behind = bool(self._lag())
            for partition in horizons.keys() & self._partitions.keys():
                self._partitions[partition].reached(horizons[partition])
                ended = horizons[partition].until == FOREVER
                self._heard[partition] = inf if ended else now
            if not was_behind:
                self._committed = now  # what waits from now on is younger than this

    def read(self, records: Records) -> None:
        """Count the bytes."""
        with self._lock:
            self.totals.read_bytes += records.nbytes

    def committed(self, sink: str, seconds: float) -> None:
        """Count the time of one sink."""
        with self._lock:
            self.totals.time(sink, seconds)

    def wrote(self, batch: Batch) -> None:
        """Count the records of the batch, and move its partitions on."""
        with self._lock:
            earliest = self._earliest(batch)
            self.totals.count(batch)
            self._committed, self.last_commit = self._clock.monotonic(), self._clock.now()
            if batch.rejected.height:
                self.rejects.add(batch, self.last_commit)
            for partition, span in batch.spans.items():
                if partition in self._partitions:
                    self._partitions[partition].wrote(span.end, earliest.get(partition))

    def overtaken(self, stale: StalePosition) -> None:
        """Count the conflict."""
        del stale
        with self._lock:
            self.totals.conflicts += 1

    def failed(self, error: str) -> None:
        """Note why the pipeline ended."""
        self._error = error

    def outages(self) -> tuple[OutageView, ...]:
        """Return the parts without a success, the longest first."""
        now = self._clock.now()
        found = [(one, one.seconds()) for one in self._outages]
        return tuple(
            OutageView(one.part, now - timedelta(seconds=seconds), one.fault, one.hint)
            for one, seconds in sorted(found, key=lambda pair: -pair[1])
            if one.fault or seconds >= health.OUTAGE_S  # a call that just began is none
        )

    def outage_seconds(self) -> dict[str, float]:
        """Return for how long each part has had no success; 0: none is waiting."""
        return {one.part: one.seconds() for one in self._outages}

    def facts(self) -> Facts:
        """Return what decides about health."""
        now = self._clock.monotonic()
        with self._lock:
            sample = self._sample()
            rejected, recent = self._recent.rejected(sample)
            return Facts(
                name=self.name,
                begun=self._turned is not None,
                turned=now - (self._born if self._turned is None else self._turned),
                assigned=len(self._assigned),
                outages=self.outages(),
                silent=self._silent(now),
                stuck=now - self._committed if sample.lag else 0.0,
                max_wait=self._max_wait,
                lag=sample.lag,
                lag_seconds=sample.lag_seconds,
                growing=self._recent.is_growing(sample),
                rejected=rejected,
                recent=recent,
                top_reason=self.rejects.top,
                error=self._error,
            )

    def view(self) -> PipelineView:
        """Return all of it as the page shows it."""
        with self._lock:
            self._sample_if_due()
            sample, outcomes = self._sample(), self.totals.outcomes
            return PipelineView(
                name=self.name,
                reads=self.reads,
                table=self.table,
                state=self._dated_state(),
                clean=outcomes["clean"],
                quarantined=outcomes["quarantined"],
                filtered=outcomes["filtered"],
                expired=outcomes["expired"],
                counted_since=self.started_at,
                rate=self._recent.rate(sample),
                lag=sample.lag,
                lag_seconds=sample.lag_seconds,
                queryable_until=self.queryable_until(),
                last_commit=self.last_commit,
                partitions=self.partitions(),
                reasons=self.rejects.views(),
                outages=self.outages(),
                series=self._recent.view(),
            )

    def partitions(self) -> tuple[PartitionView, ...]:
        """Return the partitions in their order, those whose number is a number by it."""
        with self._lock:
            own = sorted(self._partitions.items(), key=lambda item: _order(item[0]))
            return tuple(self._partition(p, progress) for p, progress in own)

    def queryable_until(self) -> datetime | None:
        """Return until when every record is in the table; None: not known."""
        with self._lock:
            if not self._assigned or self._assigned - self._partitions.keys():
                return None
            untils = [self._partitions[p].queryable_until for p in self._assigned]
            known = [until for until in untils if until is not None]
            return min(*known, self._clock.now()) if len(known) == len(untils) else None

    @property
    def assigned_partitions(self) -> int:
        """How many partitions or shards the process reads."""
        return len(self._assigned)

    def _retried(self, part: str, kind: str) -> None:
        with self._lock:
            self.totals.retries[part, kind] += 1

    def _earliest(self, batch: Batch) -> dict[Partition, datetime]:
        """Return the first timestamp of each partition whose freshness is not proven yet."""
        own = self._partitions
        if all(own[p].is_proven for p in batch.spans if p in own):
            return {}
        names = batch.coordinates
        first = batch.raw.group_by(names.source, names.partition).agg(pl.col("_timestamp").min())
        return {Partition(source, str(part)): at for source, part, at in first.iter_rows()}

    def _silent(self, now: float) -> float:
        lost = [] if self._assigned or self._lost is None else [self._lost]
        return max((now - at for at in [*self._heard.values(), *lost]), default=0.0)

    def _lag(self) -> int | None:
        lags = [progress.lag for progress in self._partitions.values()]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if known and len(known) == len(lags) else None

    def _sample(self) -> Sample:
        now, until = self._clock.now(), self.queryable_until()
        seconds = None if until is None else (now - until).total_seconds()
        quarantined = self.totals.outcomes["quarantined"]
        return Sample(now.timestamp(), self.totals.records, quarantined, self._lag(), seconds)

    def _sample_if_due(self) -> None:
        if self._recent.is_due(self._clock.now().timestamp()):
            self._recent.add(self._sample())
            self._dated_state()

    def _dated_state(self) -> State:
        """Return how the pipeline is, with the time since when; looked at with each sample."""
        state = health.state(self.facts(), self._clock.now())
        if state.word != self._word[0]:
            self._word = state.word, state.since or self._clock.now()
        since = state.since or self._word[1]
        return State(state.level, state.word, since, state.why, state.next)

    def _partition(self, partition: Partition, own: Progress) -> PartitionView:
        now, end = self._clock.now(), own.newest and own.newest.position
        until = None if own.queryable_until is None else min(own.queryable_until, now)
        seconds = None if until is None else (now - until).total_seconds()
        return PartitionView(
            source=partition.source,
            id=partition.id,
            position=None if own.committed is None else str(own.committed.number),
            end=str(end.number) if end and own.lag is not None else None,
            lag=own.lag,
            lag_seconds=seconds,
            queryable_until=until,
        )


def _order(partition: Partition) -> tuple[str, int, str]:
    number = int(partition.id) if partition.id.isdecimal() else -1
    return partition.source, number, partition.id
