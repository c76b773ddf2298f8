"""One pipeline of `pinpip ui`: looked at from three sides, and shown as they last were."""

import threading
from dataclasses import replace
from datetime import datetime
from functools import partial

from core.clock import Clock
from core.config import Config
from monitor.recent import Sample
from monitor.view import PipelineView, SeriesView
from pinpip.connectors import connector_of
from pinpip.lake.look import LakeLook
from pinpip.lake.view import LakeView
from pinpip.pipelines import tables_of
from pinpip.status import Held, PartitionStatus, PipelineStatus, joined
from pinpip.ui.looks import Fault, Look, Source, TablesLook, has_offsets, source_look
from pinpip.ui.memory import Memory
from pinpip.ui.state import Known, state
from pinpip.watch import Watch

SHARE = 0.5  # of the time, for each side
SILENT_S = 4.0  # a source that does not respond for so long is not known
GONE = "is gone"


class WatchedPipeline:
    """Looks at one pipeline in threads; `view` waits for none of them."""

    def __init__(self, config: Config, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._tables = tables_of(config, name)
        self._described = connector_of(config, name, clock).described
        self._reads = ", ".join(config.pipeline(name).reads)
        lake = LakeLook(partial(tables_of, config, name), clock).look
        held, source = TablesLook(config, name, clock).look, source_look(config, name, clock)
        self._lake: Watch[LakeView] = Watch({name: lake}, LakeView(), clock, SHARE)
        self._held: Watch[Look[Held]] = Watch({name: held}, Look(), clock, SHARE)
        self._source: Watch[Look[Source]] = Watch({name: source}, Look(), clock, SHARE)
        self._memory = Memory()
        self._followed: tuple[object, object] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to look."""
        self._lake.start()
        self._held.start()
        self._source.start()

    def stop(self) -> None:
        """Look no more."""
        self._lake.stop()
        self._held.stop()
        self._source.stop()

    def sample(self) -> None:
        """Keep what was found last, for charts and for the time of a state; renew nothing."""
        n = self._name
        held, source, lake = self._held.latest(n), self._source.latest(n), self._lake.latest(n)
        with self._lock:
            self._view(held, source, lake)

    def view(self) -> PipelineView:
        """Return the pipeline as it was last seen, and let it be looked at again soon."""
        n = self._name
        held, source, lake = self._held.view(n), self._source.view(n), self._lake.view(n)
        with self._lock:
            return self._view(held, source, lake)

    def _followed_up(
        self, held: Look[Held], source: Look[Source], lake: LakeView
    ) -> tuple[PipelineStatus, datetime, Sample | None]:
        """Return what tables and source say together; what is new goes into the memory."""
        ends = source.value.ends if source.value else None
        status = joined(self._name, self._tables, held.value, ends, {})
        if source.value is not None and not has_offsets(self._tables):
            status = _with_shards(status, source.value)
        at = min((look.at for look in (held, source) if look.at), default=self._clock.now())
        if held.value is None:
            return status, at, None
        if self._followed != (held, source):
            self._memory.follow(status, source.value, lake, at)
            self._followed = held, source
        return status, at, self._memory.sample(status, self._records(status), at)

    def _records(self, status: PipelineStatus) -> int:
        """Return a count that grows with the records that were read."""
        if has_offsets(self._tables):
            return sum(row.position.number for row in status.partitions if row.position)
        return (status.clean or 0) + (status.quarantined or 0) + (status.left_out or 0)

    def _view(self, held: Look[Held], source: Look[Source], lake: LakeView) -> PipelineView:
        source = self._unless_silent(source)
        status, at, sample = self._followed_up(held, source, lake)
        memory, commits = self._memory, lake.commits
        known = self._known(status, at, held, source, lake)
        is_read = held.value is not None
        expired = [row.expired for row in status.partitions if row.expired is not None]
        until = memory.until() if is_read and source.value else None
        return PipelineView(
            name=self._name,
            reads=self._described,
            table=self._tables.clean,
            state=memory.dated(state(known, memory.recent, sample), self._clock.now()),
            clean=status.clean if is_read else lake.clean,
            quarantined=status.quarantined if is_read else lake.quarantined,
            expired=sum(expired) if is_read else None,
            rate=_positive(memory.recent.rate(sample)) if sample else None,
            lag=status.lag,
            lag_seconds=sample.lag_seconds if sample and until else None,
            queryable_until=until and min(until, at),
            last_commit=commits[0].at if commits else None,
            partitions=tuple(memory.partition(row, at) for row in _in_order(status)),
            commits=commits,
            reasons=lake.reasons,
            series=_series(memory.recent.view()),
            files=lake.files,
            verdict=lake.verdict,
            unknown=self._unknown(held, source, lake),
            as_of=at,
        )

    def _known(
        self,
        status: PipelineStatus,
        at: datetime,
        held: Look[Held],
        source: Look[Source],
        lake: LakeView,
    ) -> Known:
        told = lake.unknown.get("table", "")
        unsure = dict(source.value.unknown) if source.value else {}
        return Known(
            status=status,
            at=at,
            tables=held.fault,
            source=source.fault,
            begins=held.at is None or source.at is None,
            gone=told if GONE in told and lake.clean is None else "",
            behind=source.value.behind if source.value else (),
            unsure="; ".join(f"{what}: {why}" for what, why in unsure.items()),
            last_commit=lake.commits[0].at if lake.commits else None,
            moves=self._memory.moved is not None,
            idle=self._memory.idle(at),
            top_reason=lake.reasons[0].reason if lake.reasons else "",
        )

    def _unless_silent(self, source: Look[Source]) -> Look[Source]:
        """Return what the source said; nothing when it has not responded for too long."""
        waits = self._source.waits(self._name)
        if waits < SILENT_S or source.at is None or source.fault is not None:
            return source
        why = f"{self._reads} has not responded for {waits:.0f} s"
        return Look(source.at, None, Fault(why, "look at the brokers or at Kinesis"))

    def _unknown(self, held: Look[Held], source: Look[Source], lake: LakeView) -> dict[str, str]:
        told = dict(lake.unknown)
        if held.fault is not None:
            told["positions"] = held.fault.line
        if source.fault is not None:
            told[self._reads] = source.fault.line
        return told | (dict(source.value.unknown) if source.value else {})


def _in_order(status: PipelineStatus) -> list[PartitionStatus]:
    """Return the partitions by source and number."""

    def key(row: PartitionStatus) -> tuple[str, int, str]:
        source, id_ = row.partition
        return source, int(id_) if id_.isdecimal() else -1, id_

    return sorted(status.partitions, key=key)


def _with_shards(status: PipelineStatus, source: Source) -> PipelineStatus:
    """Return the status with the lag of each shard that was read to its end, or nearly so."""
    rows = [
        replace(
            row,
            lag=source.waiting.get(row.partition, 0 if row.partition in source.horizons else None),
        )
        for row in status.partitions
    ]
    lags = [row.lag for row in rows if row.lag is not None]
    return replace(status, partitions=rows, lag=sum(lags) if len(lags) == len(rows) else None)


def _positive(rate: float | None) -> float | None:
    """Return the rate; None when the positions went back: the source or table is another."""
    return None if rate is None or rate < 0 else rate


def _series(series: SeriesView) -> SeriesView:
    return replace(series, rate=tuple(map(_positive, series.rate)))
