"""The heart: poll, buffer, decode and clean, write to every sink, acknowledge.

The tables are the truth. An assigned partition starts at the minimum over the sinks, each sink
drops what it already has, and a sink that another writer has overtaken makes the loop drop its
buffer, read the positions again and seek.

The loop's own thread polls. Batches in flight are in the threads of the executor: the younger ones
are decoded and uploaded while older ones are committed (see `consumers.engine.lane`). While the
loop waits long for one of them, the source is paused and polled on, so that the group is served.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from math import inf
from typing import Any, TypeVar

import structlog

from consumers.engine.buffer import Buffer
from consumers.engine.flights import Flights
from consumers.engine.lane import ended
from consumers.engine.limits import ConflictLimit, Limits, RejectLimit
from consumers.engine.sink_group import SinkGroup
from core.batch import Batch, Partition, Records
from core.clock import Clock
from core.errors import StalePosition, TransientError
from core.observer import Observer, Unobserved
from core.protocols import Sink, Source
from core.repeats import Repeats
from core.topic_id import Known

MAX_WAIT_S = 0.5  # seconds in one wait at most: signals and finished writes are seen this soon
IDLE_WAIT_S = 0.02  # the same while nothing is assigned: what comes is started this soon
RUSH_WAIT_S = 0.05  # the same in a backlog; nothing within it: the backlog is at its end
THREADS = 16  # that one loop can make use of: most of them wait for a store
MOST_THREADS = 64  # of all loops of a process
PAUSE_AFTER_S = 2.0  # for a call on a sink; beyond it the source is paused, which drops its queue
START_BUDGET_S = 120.0  # for a failing call on a sink without an answer so far; later: no limit
STOP_BUDGET_S = 5.0  # the same once the loop is asked to stop

T = TypeVar("T")
_log = structlog.get_logger()


class Loop:
    """One source into its sinks. `run_once` is one turn, so that tests can step it."""

    def __init__(
        self,
        source: Source,
        process: Callable[[Records], Batch],
        sinks: Sequence[Sink],
        limits: Limits,
        clock: Clock,
        executor: Executor,
        observer: Observer | None = None,
    ) -> None:
        self._source = source
        self._observer = observer or Unobserved(clock)
        self._sinks = SinkGroup(
            sinks, clock, self._retry_budget, self._observer, executor, source.coordinates
        )
        self._limits = limits
        self._clock = clock
        self._stopping = self._caught_up = False
        self._assigned: set[Partition] = set()
        self._arrived: set[Partition] = set()
        self._buffer = Buffer(limits)
        self._rejects = RejectLimit(
            limits.reject_ratio, limits.reject_window, accept=limits.accept_rejects
        )
        self._flights = Flights(process, self._rejects, self._sinks, self._observer, executor)
        self._conflicts = ConflictLimit()
        self._repeats = Repeats(clock)

    def stop(self) -> None:
        """Ask `run` to write what it holds and return; safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Turn until stopped or the source is exhausted, then leave cleanly."""
        self._source.open(self)
        try:
            while not (self._stopping or self._source.exhausted):
                self.run_once()
                if self._source.exhausted:
                    self._drain()
            self.finish()
        finally:
            self.stop()  # after an error a write may still be trying
            self._source.close()

    def run_once(self) -> None:
        """Start new partitions, poll, buffer, and hand a due batch over to the sinks."""
        try:
            self._start_arrived()
            came = self._poll(self._patience())
            while self._flights.is_oldest_over:
                self._settle()
            if self._flights:
                self._sinks.look()
            if self._caught_up:
                self._catch_up()
            elif self._buffer.is_due(self._clock.monotonic(), came=came):
                self._hand_over()
            elif not (self._buffer or self._flights) and self._sinks.is_overdue:
                self._await(self._sinks.settle)
        except StalePosition as stale:
            self._rewind(stale)

    def finish(self) -> None:
        """Write what is buffered and what the sinks put off, unless it is another's by now."""
        with suppress(StalePosition):
            self._write_all()
        self._await(self._sinks.close)

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Take note of partitions to take over."""
        self._assigned |= set(partitions)
        self._arrived |= set(partitions)
        self._rebalanced(partitions)
        self._observer.assigned(partitions)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Give partitions up: what is buffered of them is their next owner's to read."""
        self._assigned -= set(partitions)
        self._arrived -= set(partitions)
        self._rebalanced(partitions)
        self._flights.release(partitions)
        self._observer.revoked(partitions)

    def caught_up(self) -> None:
        """Take note that nothing buffered or deferred need wait for more records."""
        self._caught_up = True

    def _rebalanced(self, partitions: Collection[Partition]) -> None:
        self._buffer.drop(partitions)
        if partitions:
            self._conflicts.rebalanced()

    def _start_arrived(self) -> None:
        if self._arrived:
            self._settle_all()
            self._start(self._arrived)

    def _start(self, partitions: Collection[Partition]) -> None:
        """Read from where the sinks are, but for what is taken away or comes anew meanwhile."""
        asked = sorted(partitions)
        self._arrived.difference_update(asked)
        found = self._wait_for(self._flights.call(self._look, asked))
        if not found:
            self._arrived |= self._assigned & set(asked)
        ours = self._assigned - self._arrived
        known = {p: own for p, own in found.items() if p in ours}
        self._buffer.drop(known)
        self._source.bind(known)
        starts = {p: own.start for p, own in known.items()}
        self._source.seek(starts)
        self._buffer.rush(self._clock.monotonic())
        self._observer.started(starts)

    def _look(self, asked: Collection[Partition]) -> Mapping[Partition, Known]:
        """Return what the sinks know, once the start is stored; return nothing before."""
        found = self._sinks.known(asked)
        try:
            if self._sinks.pin_starts(self._source, found):
                found = self._sinks.known(asked)
        except TransientError as error:
            if self._repeats.due("start") is not None:
                _log.warning("source_start_unknown", error=error.message)
            return {}
        self._rejects.remember(self._sinks.rejects(asked))
        return found

    def _poll(self, patience: float) -> bool:
        """Poll once, and return whether records came."""
        self._observer.turned(self._held())
        asked = self._clock.monotonic()
        records = self._source.poll(patience)
        if horizons := self._source.horizons():
            self._observer.reached(horizons)
        if records is None:
            return False
        self._observer.read(records)
        self._buffer.add(records, asked)
        return True

    def _held(self) -> int:
        """Bytes of the records that were read and are not acknowledged yet."""
        return self._buffer.nbytes + self._flights.nbytes

    def _patience(self) -> float:
        now = self._clock.monotonic()
        most = RUSH_WAIT_S if self._buffer.is_rushing(now) else MAX_WAIT_S
        return min(max(self._buffer.left(now), 0.0), most if self._assigned else IDLE_WAIT_S)

    def _hand_over(self) -> None:
        self._make_room(self._buffer.undecoded)
        # A wait may have taken some away, or brought more.
        nbytes, undecoded = self._buffer.nbytes, self._buffer.undecoded
        if parts := self._buffer.take(self._clock.monotonic()):
            self._flights.put(parts, nbytes, undecoded)

    def _make_room(self, nbytes: int) -> None:
        """Wait until there is room for another batch of so many bytes."""
        while not self._flights.has_room(nbytes, self._limits.max_in_flight):
            if (step := self._flights.releasing) is None:
                self._settle()
            else:
                self._wait(step)  # its error is that of the batch, in its turn
        if (decoding := self._flights.decoding) is not None:
            self._wait_for(decoding)

    def _settle(self) -> None:
        """Wait for the oldest batch in flight, and acknowledge it."""
        taken = self._wait_for(self._flights.pop().call)
        self._wait_for(taken.written)
        if taken.spans:
            self._conflicts.wrote()
            ends = {p: span.end for p, span in taken.spans.items() if p in self._assigned}
            self._source.acknowledge(ends)

    def _settle_all(self) -> None:
        while self._flights:
            self._settle()

    def _write_all(self) -> None:
        if self._buffer:
            self._hand_over()
        self._settle_all()

    def _catch_up(self) -> None:
        """Write what is buffered, and commit what the sinks deferred."""
        self._caught_up = False
        self._write_all()
        self._await(self._sinks.settle)

    def _drain(self) -> None:
        """Write the last batch of a bounded source; overtaken, the source goes back to give it."""
        try:
            self._catch_up()
        except StalePosition as stale:
            self._rewind(stale)

    def _rewind(self, stale: StalePosition) -> None:
        """Another writer was faster: the table wins. What followed in flight was not written."""
        self._observer.overtaken(stale)
        self._conflicts.overtaken(stale)
        while self._flights:
            with suppress(StalePosition):
                self._settle()
        self._rejects.forget()
        self._start(self._assigned)

    def _await(self, step: Callable[[], Future[None]]) -> None:
        """Begin a step of all sinks, and wait for its end."""
        self._wait_for(self._wait_for(self._flights.call(step)))

    def _wait_for(self, call: Future[T]) -> T:
        """Return or raise what the call on the sinks does."""
        self._wait(call)
        return call.result()

    def _wait(self, call: Future[Any]) -> None:
        """Wait for the end of a call on the sinks; fetch nothing more if it takes long."""
        if not ended(call, PAUSE_AFTER_S):
            self._source.pause()
            while not ended(call, MAX_WAIT_S):
                self._sinks.look()
                self._poll(0.0)
            self._source.resume()

    def _retry_budget(self, answered: bool) -> float:  # noqa: FBT001  # as SinkGroup calls it
        if self._stopping:
            return STOP_BUDGET_S
        return inf if answered else START_BUDGET_S
