"""The batches on their way: decoded side by side, handed to the sinks in their order."""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor, Future
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar

from consumers.engine.lane import end, over
from consumers.engine.limits import RejectLimit
from consumers.engine.sink_group import SinkGroup
from core.batch import Batch, Partition, Records, Span
from core.merge import merge
from core.observer import Observer

DECODING = 2  # batches at once
MOST = 64  # batches: a store that takes files but no commits must not pile them up

P = ParamSpec("P")
T = TypeVar("T")
Spans = Mapping[Partition, Span]


class Taken(NamedTuple):
    """A batch that was decoded and handed to the sinks; `spans` is empty if it was none."""

    spans: Spans
    written: Future[None]


class Flight(NamedTuple):
    """A batch in the executor, its bytes when it was handed over, and what it takes undecoded."""

    call: Future[Taken]
    nbytes: int
    undecoded: int

    @property
    def is_over(self) -> bool:
        """Whether it was written, or was not for an error."""
        if not self.call.done():
            return False
        return self.call.exception() is not None or self.call.result().written.done()


class Flights:
    """The batches in flight, oldest first; every call on the sinks goes through here.

    `process` decodes and cleans, `rejects` counts, `observer` hears of what is written.
    """

    def __init__(
        self,
        process: Callable[[Records], Batch],
        rejects: RejectLimit,
        sinks: SinkGroup,
        observer: Observer,
        executor: Executor,
    ) -> None:
        self._process = process
        self._rejects = rejects
        self._sinks = sinks
        self._observer = observer
        self._executor = executor
        self._flying: deque[Flight] = deque()
        self._last: Future[Any] = over()  # the newest call

    def __len__(self) -> int:
        return len(self._flying)

    @property
    def nbytes(self) -> int:
        """Bytes of the records in flight."""
        return sum(flight.nbytes for flight in self._flying)

    @property
    def held(self) -> int:
        """Bytes that the batches in flight hold: undecoded, as rows, or as bodies of files."""
        undecoded = sum(flight.undecoded for flight in self._flying if not flight.call.done())
        return undecoded + self._sinks.nbytes

    def has_room(self, nbytes: int, most: int) -> bool:
        """Whether a batch of so many bytes may fly if all may hold `most`; one always may."""
        return not self._flying or (len(self._flying) < MOST and self.held + nbytes <= most)

    @property
    def releasing(self) -> Future[Any] | None:
        """The step of a batch that gives bytes back at its end; None: the oldest commit is next."""
        if len(self._flying) >= MOST:
            return None
        undecoded = (flight.call for flight in self._flying if not flight.call.done())
        return self._sinks.uploading or next(undecoded, None)

    @property
    def decoding(self) -> Future[Taken] | None:
        """What must end before another batch may be decoded, if anything must."""
        return self._flying[-DECODING].call if len(self._flying) >= DECODING else None

    @property
    def is_oldest_over(self) -> bool:
        """Whether `pop` gives a flight that is over."""
        return bool(self._flying) and self._flying[0].is_over

    def pop(self) -> Flight:
        """Return the oldest flight, which is none any more."""
        return self._flying.popleft()

    def call(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call the sinks in another thread; `put` and `release` wait for it."""
        self._last = submitted = self._executor.submit(step, *args, **kwargs)
        return submitted

    def put(self, parts: list[Records], nbytes: int, undecoded: int) -> None:
        """Begin to decode and write these records; the bytes as in Flight."""
        call = self.call(self._work, parts, self._last)
        self._flying.append(Flight(call, nbytes, undecoded))

    def release(self, partitions: Collection[Partition]) -> None:
        """Make the sinks forget what they deferred of these, after the batches before."""
        call = self.call(self._release, partitions, self._last)
        self._flying.append(Flight(call, 0, 0))

    def _work(self, parts: list[Records], before: Future[Any]) -> Taken:
        """Decode beside others; hand over to the sinks after the call `before`.

        If that failed, the sinks find that this batch does not follow.
        """
        records = merge(parts)
        parts.clear()  # payloads are not needed any more once they are decoded
        batch = self._process(records)
        del records
        before.exception()
        batch = self._rejects.check(batch)
        written, told = self._sinks.put(batch), Future[None]()
        tell, context = partial(self._tell, batch.outline(), told), copy_context()
        written.add_done_callback(lambda done: context.run(tell, done))
        return Taken(batch.spans, told)

    def _tell(self, batch: Batch, told: Future[None], written: Future[None]) -> None:
        """Tell the observer of what is written before the loop goes on."""
        error = written.exception()
        try:
            if error is None:
                self._observer.wrote(batch)
        except Exception as raised:  # noqa: BLE001  # the loop raises it
            error = raised
        end(told, error)

    def _release(self, partitions: Collection[Partition], before: Future[Any]) -> Taken:
        before.exception()
        return Taken({}, self._sinks.release(partitions))
