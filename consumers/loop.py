"""The heart: poll, buffer, decode and clean, write to every sink, acknowledge.

The tables are the truth. On assignment each partition starts at the minimum over the sinks, each
sink drops what it already has, and a sink that another writer has overtaken makes the loop drop
its buffer, read the positions again and seek.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass

from consumers.rejects import RejectWatch
from pinpip.batch import Batch, Partition, Position, Records, Sink, Source, merge
from pinpip.clock import Clock
from pinpip.errors import StalePosition
from pinpip.retry import retry

PATIENCE = 0.5  # seconds in one poll at most: signals and finished writes are seen this soon
RETRY_BUDGET = 120.0  # seconds, well below max.poll.interval.ms
STOP_BUDGET = 5.0  # seconds for a failing write once the loop is asked to stop


@dataclass(frozen=True)
class Limits:
    """When a batch is due, and how many rejects are too many."""

    max_records: int
    max_bytes: int
    max_wait: float
    reject_ratio: float
    reject_window: int


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
        written: Callable[[Batch], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._process = process
        self._sinks = sinks
        self._limits = limits
        self._clock = clock
        self._executor = executor
        self._written = written
        self._rng = random.Random()
        self._stopping = False
        self._assigned: set[Partition] = set()
        self._buffer: list[Records] = []
        self._buffered_at = 0.0
        self._writing: Future[Batch] | None = None
        self._failure: Exception | None = None
        self._rejects = RejectWatch(limits.reject_ratio, limits.reject_window)

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
            self._source.close()

    def run_once(self) -> None:
        """Poll, buffer, and hand a due batch over to the sinks."""
        try:
            self._collect(self._source.poll(self._patience()))
            self._settle(wait=False)
            self._raise_failure()
            if self._is_due():
                self._hand_over()
        except StalePosition:
            self._rewind()

    def finish(self) -> None:
        """Write what is buffered and what the sinks put off, unless it is another's by now."""
        with suppress(StalePosition):
            self._write_all()
        for sink in self._sinks:
            with suppress(StalePosition):
                self._retried(sink.close)

    def _drain(self) -> None:
        """Write the last batch of a bounded source; overtaken, the source goes back to give it."""
        try:
            self._write_all()
        except StalePosition:
            self._rewind()

    def _write_all(self) -> None:
        if self._buffer:
            self._hand_over()
        self._settle(wait=True)
        self._raise_failure()

    def assigned(self, partitions: Collection[Partition]) -> Mapping[Partition, Position | None]:
        """Take partitions over: each starts at the minimum over the sinks."""
        self._settle(wait=True)
        self._drop(partitions)
        self._assigned |= set(partitions)
        return self._positions(partitions)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Give partitions up: what is buffered of them is their next owner's to read."""
        self._assigned -= set(partitions)
        self._drop(partitions)

    def _drop(self, partitions: Collection[Partition]) -> None:
        kept = [records.without(partitions) for records in self._buffer]
        self._buffer = [records for records in kept if records.spans]

    def _collect(self, records: Records | None) -> None:
        if records is None:
            return
        if not self._buffer:
            self._buffered_at = self._clock.monotonic()
        self._buffer.append(records)

    def _patience(self) -> float:
        if not self._buffer:
            return PATIENCE
        age = self._clock.monotonic() - self._buffered_at
        return min(max(self._limits.max_wait - age, 0.0), PATIENCE)

    def _is_due(self) -> bool:
        if not self._buffer:
            return False
        return (
            sum(r.frame.height for r in self._buffer) >= self._limits.max_records
            or sum(r.nbytes for r in self._buffer) >= self._limits.max_bytes
            or self._clock.monotonic() - self._buffered_at >= self._limits.max_wait
        )

    def _hand_over(self) -> None:
        """Decode beside the write of the batch before, then take its slot."""
        batch = self._process(merge(self._buffer))
        self._buffer = []
        self._rejects.check(batch)
        self._settle(wait=True)
        self._raise_failure()
        self._writing = self._executor.submit(self._write, batch)

    def _write(self, batch: Batch) -> Batch:
        for sink in self._sinks:
            self._retried(lambda sink=sink: sink.write(batch))  # type: ignore[misc]
        return batch

    def _retried(self, step: Callable[[], None]) -> None:
        retry(step, self._clock, self._rng, self._retry_budget)

    def _retry_budget(self) -> float:
        return STOP_BUDGET if self._stopping else RETRY_BUDGET

    def _settle(self, *, wait: bool) -> None:
        """Acknowledge a finished write, or keep its failure for the loop's own thread to raise."""
        if self._writing is None or not (wait or self._writing.done()):
            return
        writing, self._writing = self._writing, None
        failure = writing.exception()
        if isinstance(failure, Exception):
            self._failure = failure
            return
        batch = writing.result()
        ends = {p: span.end for p, span in batch.spans.items() if p in self._assigned}
        self._source.acknowledge(ends)
        self._written(batch)

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _rewind(self) -> None:
        """Another writer was faster: the table wins."""
        self._settle(wait=True)
        self._failure = None
        self._buffer = []
        self._source.seek(self._positions(self._assigned))

    def _positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        held = [self._read_positions(sink, partitions) for sink in self._sinks]
        return {p: _earliest([positions[p] for positions in held]) for p in partitions}

    def _read_positions(
        self, sink: Sink, partitions: Collection[Partition]
    ) -> dict[Partition, Position | None]:
        return retry(lambda: sink.positions(partitions), self._clock, self._rng, self._retry_budget)


def _earliest(positions: list[Position | None]) -> Position | None:
    known = [position for position in positions if position is not None]
    return min(known) if len(known) == len(positions) else None
