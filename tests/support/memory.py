"""A broker, a source, a table and a sink in memory, for driving the loop step by step."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from core.batch import KAFKA, VALUE, Batch, Partition, Position, Positions, Records, Rejects, Span
from core.errors import StalePosition
from core.observer import Horizon
from core.origins import Begin, Start, pinned
from core.protocols import Listener
from core.sinks import AtOnce, WithoutHistory
from core.topic_id import Known

_TIME = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pl.Schema({**KAFKA.metadata, VALUE: pl.Binary()})
BAD = b"bad"


def frame_of(partition: Partition, offsets: range, values: list[bytes | None]) -> pl.DataFrame:
    """Undecoded records of one partition."""
    rows = [
        (partition.source, int(partition.id), offset, None, _TIME, value)
        for offset, value in zip(offsets, values, strict=True)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@dataclass
class MemoryBroker:
    """Partitions as lists of values; the offset is the index."""

    logs: dict[Partition, list[bytes | None]] = field(default_factory=lambda: defaultdict(list))


class MemorySource:
    """A member of a group whose rebalances the test decides: each poll hears of one at most."""

    coordinates = KAFKA

    def __init__(self, broker: MemoryBroker, chunk: int = 3) -> None:
        self.broker = broker
        self.chunk = chunk
        self.acknowledged: dict[Partition, Position] = {}
        self.closed = False
        self.paused = False
        self.pins = self.latest = False
        self.polls: list[bool] = []  # for each poll whether it was paused
        self.held: set[Partition] = set()
        self.horizon: dict[Partition, Horizon] = {}  # what the next call tells
        self.next: dict[Partition, Position | None] = {}
        self._listener: Listener | None = None
        self._calls: list[tuple[str, list[Partition]]] = []

    def open(self, listener: Listener) -> None:
        self._listener = listener

    def assign(self, *partitions: Partition) -> None:
        self._calls.append(("assigned", list(partitions)))

    def revoke(self, *partitions: Partition) -> None:
        self._calls.append(("revoked", list(partitions)))

    def poll(self, timeout: float) -> Records | None:
        del timeout
        self.polls.append(self.paused)
        self._rebalance()
        return None if self.paused else self._read()

    def _read(self) -> Records | None:
        spans: dict[Partition, Span] = {}
        frames = []
        for partition, start in self.next.items():
            first = 0 if start is None else start.number
            values = self.broker.logs[partition][first : first + self.chunk]
            if values:
                end = first + len(values)
                frames.append(frame_of(partition, range(first, end), values))
                spans[partition] = Span(start, Position(end), len(values))
        self.next |= {p: span.end for p, span in spans.items()}
        return Records(pl.concat(frames), spans, KAFKA) if spans else None

    def _rebalance(self) -> None:
        assert self._listener is not None
        if not self._calls:
            return
        call, partitions = self._calls.pop(0)
        if call == "assigned":
            self.next = {p: n for p, n in self.next.items() if p not in partitions}
            self.held |= set(partitions)
            self._listener.assigned(partitions)
        else:
            self.held -= set(partitions)
            self.next = {p: n for p, n in self.next.items() if p in self.held}
            self._listener.revoked(partitions)

    def starts(self, sources: Collection[str]) -> dict[str, Start]:
        logs = {p: len(values) for p, values in self.broker.logs.items() if p.source in sources}
        begins: dict[str, dict[Partition, Begin | None]] = {source: {} for source in sources}
        for p, n in logs.items():
            low, end = Position(0), Position(n)
            first = end if self.latest else low
            begins[p.source][p] = Begin(low, end, first, low)
        return {source: Start(found) for source, found in begins.items()} if self.pins else {}

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """There is one life only."""

    def seek(self, positions: Positions) -> None:
        self.next |= {p: position for p, position in positions.items() if p in self.held}

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        self.acknowledged |= positions

    def horizons(self) -> dict[Partition, Horizon]:
        found, self.horizon = self.horizon, {}
        return found

    @property
    def exhausted(self) -> bool:
        ends = {p: len(self.broker.logs[p]) for p in self.held}
        read = {p: 0 if n is None else n.number for p, n in self.next.items()}
        return not self._calls and read == ends

    def close(self) -> None:
        self.closed = True


@dataclass
class MemoryTable:
    """Rows and positions that several sinks share, as writers share a table."""

    rows: list[tuple[Partition, int]] = field(default_factory=list)
    held: dict[Partition, Position] = field(default_factory=dict)
    pinned: set[str] = field(default_factory=set)
    origins: dict[Partition, Position] = field(default_factory=dict)
    windows: dict[Partition, Rejects] = field(default_factory=dict)


class MemorySink(AtOnce, WithoutHistory):
    """The sink contract, with faults on demand.

    `reading` runs before positions are read, `before` and `after` around the commit.
    """

    def __init__(self, table: MemoryTable, stage: str = "clean") -> None:
        self.name = stage
        self.table = table
        self.stage = stage
        self.reading: Callable[[], None] = lambda: None
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self._own: dict[Partition, Position | None] = {}

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        self.reading()
        found = {p: self.table.held.get(p) for p in partitions}
        self._own |= found
        return found

    def rejects(self, partitions: Collection[Partition]) -> list[Rejects]:
        found = [self.table.windows[p] for p in partitions if p in self.table.windows]
        return list(dict.fromkeys(found))

    def origins(self, partitions: Collection[Partition]) -> dict[Partition, Position]:
        own = [p for p in partitions if p.source in self.table.pinned]
        return {p: self.table.origins.get(p, Position(0)) for p in own}

    def pin(self, starts: Mapping[str, Start]) -> None:
        if self.stage != "clean":
            return
        if self.table.pinned & starts.keys():
            raise StalePosition(f"{self.name}: another member was faster")
        for source, start in starts.items():
            pins = pinned(start, {p: self.table.held.get(p) for p in start.begins})
            self.table.pinned.add(source)
            self.table.held |= pins.positions
            self.table.origins |= pins.firsts

    def write(self, batch: Batch) -> None:
        news = {p: s for p, s in batch.spans.items() if s.end > (self._own[p] or Position(0))}
        self.before()
        for p, span in news.items():
            own = self._own[p]
            if self.table.held.get(p) != own or (span.start or Position(0)) > (own or Position(0)):
                raise StalePosition(f"{self.name}: another writer moved {p} from {own}")
        frame: pl.DataFrame = getattr(batch, self.stage)
        rows = frame.filter(KAFKA.beyond({p: self._own[p] for p in news}))
        names = rows.select(KAFKA.identity).rows()
        self.table.rows += [(Partition(t, str(n)), offset) for t, n, offset in names]
        ends = {p: span.end for p, span in news.items()}
        self.table.held |= ends
        if self.stage == "clean" and batch.window is not None:
            self.table.windows |= dict.fromkeys(ends, batch.window)
        self.after()
        self._own |= ends

    def close(self) -> None:
        """Do nothing: nothing is deferred."""


class DeferringSink(MemorySink):
    """As the quarantine: what has no rows is committed later, with rows or when it is settled."""

    def __init__(self, table: MemoryTable, stage: str = "rejected") -> None:
        super().__init__(table, stage)
        self._later: dict[Partition, Position] = {}

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        for partition in partitions:
            self._later.pop(partition, None)
        return super().positions(partitions)

    def write(self, batch: Batch) -> None:
        if not getattr(batch, self.stage).is_empty():
            self.settle()
            super().write(batch)
            return
        for p, span in batch.spans.items():
            seen = self._later.get(p) or self._own[p] or Position(0)
            if (span.start or Position(0)) > seen:
                raise StalePosition(f"{self.name}: {p} was read from {span.start}, held: {seen}")
            if span.end > seen:
                self._later[p] = span.end

    def settle(self) -> None:
        moved = [p for p in self._later if self.table.held.get(p) != self._own[p]]
        for partition in moved:
            del self._later[partition]
        if moved:
            raise StalePosition(f"{self.name}: another writer moved {moved}")
        self.table.held |= self._later
        self._own |= self._later
        self._later.clear()

    def close(self) -> None:
        while self._later:
            with suppress(StalePosition):
                self.settle()


class DirectExecutor(Executor):
    """Each call is over when it was submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        call: Future[Any] = Future()
        try:
            call.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # a future keeps whatever its step raised
            call.set_exception(error)
        return call


def process(records: Records) -> Batch:
    """Values that are `BAD` are rejected, the others are clean."""
    bad = pl.col(VALUE) == pl.lit(BAD)
    rejected = records.frame.filter(bad).with_columns(reason=pl.lit("bad"))
    clean = records.frame.remove(bad)
    raw = records.frame.drop(VALUE)
    return Batch(raw, clean, rejected, records.spans, records.coordinates)


class LazyFuture(Future[Any]):
    """Runs when it is told to, or when somebody has waited `waits` times for it in vain."""

    def __init__(
        self, step: Callable[[], object], waits: int, meanwhile: Callable[[], None]
    ) -> None:
        super().__init__()
        self._step = step
        self._waits = waits
        self._meanwhile = meanwhile

    def run(self) -> None:
        if self.done():
            return
        try:
            self.set_result(self._step())
        except Exception as error:  # noqa: BLE001  # a future keeps whatever its step raised
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        self.run()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if self._waits and not self.done():
            self._waits -= 1
            self._meanwhile()
            raise TimeoutError
        self.run()
        return super().exception(timeout)


class LazyExecutor(Executor):
    """Calls that the test starts, in their order, or a wait for one of them.

    What such a call submits runs within it. The next call takes `waits` waits in vain first;
    `meanwhile` runs in each of them.
    """

    def __init__(self) -> None:
        self.pending: list[LazyFuture] = []
        self.waits = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self._running = 0

    @property
    def busy(self) -> bool:
        """Whether a call is in flight."""
        return not all(call.done() for call in self.pending)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        if self._running:
            return DirectExecutor().submit(fn, *args, **kwargs)
        waits, self.waits = self.waits, 0
        call = LazyFuture(lambda: self._run(fn, *args, **kwargs), waits, self.meanwhile)
        self.pending = [call for call in self.pending if not call.done()] + [call]
        return call

    def _run(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self._running += 1
        try:
            return fn(*args, **kwargs)
        finally:
            self._running -= 1

    def run(self) -> None:
        """Finish the calls in flight."""
        for call in self.pending:
            call.run()
