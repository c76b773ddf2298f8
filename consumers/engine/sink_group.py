"""All sinks of a pipeline as one: each gets every batch, and the slowest says where to read."""

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import count
from typing import TypeVar

import structlog

from consumers.engine.lane import Lane, end
from core.batch import KAFKA, Batch, Coordinates, Partition, Rejects
from core.clock import Clock
from core.errors import StalePosition
from core.observer import Observer
from core.origins import Start, belongs
from core.protocols import Sink, Source
from core.retry import retry
from core.topic_id import Known, known, since

QUARANTINE = "quarantine"  # defers commits without rows, so that it often holds nothing yet
T = TypeVar("T")
_log = structlog.get_logger()


class SinkGroup:
    """`sinks`; a call on one is tried again on a transient fault for `budget(answered)` seconds.

    `answered`: whether this sink has answered before. `observer` hears of faults and commits.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        clock: Clock,
        budget: Callable[[bool], float],
        observer: Observer,
        executor: Executor,
        coordinates: Coordinates = KAFKA,
    ) -> None:
        self._sinks = sinks
        self._coordinates = coordinates
        self._clock = clock
        self._budget = budget
        self._rng = random.Random()
        self._observer = observer
        self._outages = {sink.name: observer.outage(sink.name) for sink in sinks}
        self._answered: set[str] = set()
        self._lanes = [self._lane(sink, executor) for sink in sinks]

    def _lane(self, sink: Sink, executor: Executor) -> Lane:
        def call(where: str, step: Callable[[], object]) -> object:
            return self._retried(sink, step, where)

        committed = partial(self._observer.committed, sink.name)
        return Lane(sink, executor, call, self._clock, committed)

    def known(self, partitions: Collection[Partition]) -> dict[Partition, Known]:
        """Read again what the sinks know together of each partition.

        Raises TopicRecreated when two of them hold different lives of a topic.
        """
        held = {
            sink.name: self._retried(sink, lambda s=sink: s.positions(partitions))  # type: ignore[misc]
            for sink in self._sinks
        }
        found = {
            p: known(p, {name: own[p] for name, own in held.items()}, self._coordinates)
            for p in partitions
        }
        origins = self._kept(lambda sink: sink.origins(partitions))
        tips, gaps = self._kept(lambda sink: sink.tips(partitions)), self._gaps(partitions)
        found = {
            p: replace(since(own, origins.get(p)), tip=tips.get(p), gaps=tuple(gaps[p]))
            for p, own in found.items()
        }
        _report_empty(found)
        return found | self._dated(found)

    def pin_starts(self, source: Source, found: Mapping[Partition, Known]) -> bool:
        """Store where the pipeline begins to read these partitions; return whether that was open.

        A source other than the one whose records the sinks hold is left out: `Source.seek` refuses
        it. Raises StalePosition when another member was faster, TransientError when the source
        cannot tell now.
        """
        unpinned = {p.source for p, own in found.items() if own.origin is None}
        starts = source.starts(unpinned) if unpinned else {}
        ours = {name: start for name, start in starts.items() if _is_theirs(name, start, found)}
        for sink in self._sinks if ours else ():
            self._retried(sink, lambda s=sink: s.pin(ours))  # type: ignore[misc]
        return bool(ours)

    def _kept(self, ask: Callable[[Sink], Mapping[Partition, T]]) -> dict[Partition, T]:
        """Return the answer of the one sink that keeps it."""
        found: dict[Partition, T] = {}
        for sink in self._sinks:
            found |= ask(sink)
        return found

    def _gaps(self, partitions: Collection[Partition]) -> Mapping[Partition, list[range]]:
        """Return the gaps of all sinks: after a crash only some of them may hold the last one."""
        found: dict[Partition, list[range]] = {p: [] for p in partitions}
        for sink in self._sinks:
            for partition, gap in sink.gaps(partitions).items():
                found[partition].append(gap)
        return found

    def _dated(self, found: Mapping[Partition, Known]) -> dict[Partition, Known]:
        """Those of which no sink knows the epoch, with what stands for it."""
        furthest = {p: own.furthest for p, own in found.items()}
        undated = [p for p, at in furthest.items() if at is not None and at.epoch is None]
        newest: dict[Partition, datetime] = {}
        for sink in self._sinks if undated else ():
            for p, at in self._retried(sink, lambda s=sink: s.arrivals(undated)).items():  # type: ignore[misc]
                newest[p] = max(at, newest.get(p, at))
        return {p: replace(found[p], arrived=at) for p, at in newest.items()}

    def rejects(self, partitions: Collection[Partition]) -> list[Rejects]:
        """Return the counts of earlier rejects; to be called after `positions`."""
        found = [self._retried(sink, lambda s=sink: s.rejects(partitions)) for sink in self._sinks]  # type: ignore[misc]
        return [window for windows in found for window in windows]

    @property
    def nbytes(self) -> int:
        """What the batches hold that are on their way into the sinks."""
        return sum(lane.nbytes for lane in self._lanes)

    @property
    def uploading(self) -> Future[None] | None:
        """An upload that has not ended, if any: its end gives its bytes back."""
        return next(filter(None, (lane.uploading for lane in self._lanes)), None)

    def put(self, batch: Batch) -> Future[None]:
        """Begin to write to every sink; the future ends when none has it on its way any more.

        It has the first error that is no StalePosition, if any, else StalePosition.
        """
        return _joined([lane.put(batch) for lane in self._lanes])

    def release(self, partitions: Collection[Partition]) -> Future[None]:
        """Make the sinks forget what they deferred of these, after the batches before it."""
        return _joined([lane.run(partial(lane.sink.release, partitions)) for lane in self._lanes])

    @property
    def is_overdue(self) -> bool:
        """Whether a sink has deferred a commit for too long; to be asked while no call runs."""
        return any(sink.is_overdue for sink in self._sinks)

    def settle(self) -> Future[None]:
        """Commit what the sinks deferred."""
        return _joined([lane.run(lane.sink.settle) for lane in self._lanes])

    def close(self) -> Future[None]:
        """Commit what the sinks deferred, except for partitions that another writer has moved."""
        return _joined([lane.run(partial(_close, lane.sink)) for lane in self._lanes])

    def look(self) -> None:
        """Tell of a call that does not come back; to be called beside it, now and then."""
        for outage in self._outages.values():
            outage.look()

    def _retried(self, sink: Sink, step: Callable[[], T], where: str = "") -> T:
        def budget() -> float:
            return self._budget(sink.name in self._answered)

        answer = retry(step, self._clock, self._rng, budget, self._outages[sink.name], where)
        self._answered.add(sink.name)
        return answer


def _close(sink: Sink) -> None:
    with suppress(StalePosition):
        sink.close()


def _joined(calls: Sequence[Future[None]]) -> Future[None]:
    """Return a future that ends with the last of `calls`.

    The calls must not be named in what they call: such a cycle keeps each batch until Python looks
    for cycles, which it does rarely (see `pinpip.runtime`).
    """
    whole: Future[None] = Future()
    left, errors = count(len(calls) - 1, -1), list[BaseException]()

    def ended(call: Future[None]) -> None:
        if (error := call.exception()) is not None:
            errors.append(error)
        if next(left) == 0:
            end(whole, min(errors, key=lambda e: isinstance(e, StalePosition), default=None))

    for call in calls:
        call.add_done_callback(ended)
    if not calls:
        end(whole, None)
    return whole


def _is_theirs(name: str, start: Start, found: Mapping[Partition, Known]) -> bool:
    """Return whether the positions of the sinks can be positions of this source."""
    return all(
        belongs(own.furthest, start.epoch, start.begins.get(p))
        for p, own in found.items()
        if p.source == name
    )


def _report_empty(found: Mapping[Partition, Known]) -> None:
    """Name a sink that holds nothing of partitions of which another holds records."""
    empty = Counter(name for one in found.values() for name in one.empty if name != QUARANTINE)
    for name, partitions in empty.items():
        _log.warning("sink_is_empty", sink=name, partitions=partitions, next="it is refilled")
