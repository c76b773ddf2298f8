"""The way of batches into one sink: uploads side by side, commits in their order.

What is uploaded and not committed is invisible, so that uploads may end in any order. Batches that
are uploaded while a commit runs are committed together by the next one: a slow store gets fewer
commits, not later ones.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from threading import Lock
from typing import Any, Protocol

from core.batch import Batch
from core.clock import Clock
from core.errors import TransientError
from core.protocols import Prepared, Sink

MOST_UPLOADS = 8  # of one sink at once
FIRST_UPLOADS = 2


class Retry(Protocol):
    """Calls `step` again and again on transient faults; `where` keeps concurrent calls apart."""

    def __call__(self, where: str, step: Callable[[], object]) -> object:
        """Return what the step returns."""
        ...


class Uploads:
    """Runs steps in the threads of `executor`, so many at once as the store takes.

    One more after each good one, from the first fault on after as many good ones; half as many
    after a fault. What has to wait needs no thread.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._limit = float(FIRST_UPLOADS)
        self._faulted = False
        self._running = 0
        self._waiting: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._lock = Lock()

    def submit(self, step: Callable[[], None], done: Future[None]) -> None:
        """Run the step as soon as there is room for it; `done` ends with it, in its thread."""
        with self._lock:
            self._waiting.append((step, done))
        self._start()

    def succeeded(self) -> None:
        """Count a good upload."""
        with self._lock:
            more = 1 / self._limit if self._faulted else 1.0
            self._limit = min(self._limit + more, MOST_UPLOADS)

    def failed(self) -> None:
        """Count a fault: the store may have too much to do."""
        with self._lock:
            self._faulted = True
            self._limit = max(self._limit / 2, 1.0)

    def _start(self) -> None:
        due = []
        with self._lock:
            while self._waiting and self._running < int(self._limit):
                self._running += 1
                due.append(self._waiting.popleft())
        for step, done in due:
            self._executor.submit(self._run, step, done)

    def _run(self, step: Callable[[], None], done: Future[None]) -> None:
        error: BaseException | None = None
        try:
            step()
        except BaseException as raised:  # noqa: BLE001  # a future keeps whatever its step raised
            error = raised
        with self._lock:
            self._running -= 1
        try:
            self._start()  # the commit that may follow here takes its time
        finally:
            end(done, error)


@dataclass(frozen=True)
class _Item:
    """One batch, or a `step` that is taken between two commits.

    `ready` once it may be committed, `done` when it was.
    """

    ready: Future[None]
    prepared: Prepared | None = None
    step: Callable[[], None] | None = None
    began: float = 0.0
    done: Future[None] = field(default_factory=Future)


class Lane:
    """Brings batches into `sink` by the threads of `executor`.

    `committed` hears for each batch how many seconds it took, from its first call on.
    """

    def __init__(
        self,
        sink: Sink,
        executor: Executor,
        retry: Retry,
        clock: Clock,
        committed: Callable[[float], None],
    ) -> None:
        self.sink = sink
        self._retry = retry
        self._clock = clock
        self._committed = committed
        self._uploads = Uploads(executor)
        self._numbers = count(1)
        self._lock = Lock()
        self._queue: deque[_Item] = deque()
        self._busy = False

    @property
    def nbytes(self) -> int:
        """What the batches hold that are not committed yet."""
        with self._lock:
            return sum(item.prepared.nbytes for item in self._queue if item.prepared)

    @property
    def uploading(self) -> Future[None] | None:
        """The oldest upload that has not ended, if any."""
        with self._lock:
            return next((item.ready for item in self._queue if not item.ready.done()), None)

    def put(self, batch: Batch) -> Future[None]:
        """Begin to write a batch, after those before it; the future ends with its commit.

        It has StalePosition when a batch before it was not committed. Called in their order.
        """
        try:
            prepared, began = self.sink.prepare(batch), self._clock.monotonic()
        except Exception as error:  # noqa: BLE001  # a future keeps whatever its step raised
            return over(error)
        item = _Item(Future(), prepared, began=began)
        self._enqueue(item)  # before its upload, whose thread commits: the caller has others to put
        self._uploads.submit(partial(self._upload, prepared), item.ready)
        return item.done

    def run(self, step: Callable[[], None]) -> Future[None]:
        """Take a step between two commits, after the batches before it."""
        return self._enqueue(_Item(over(), step=step))

    def _enqueue(self, item: _Item) -> Future[None]:
        with self._lock:
            self._queue.append(item)
        context = copy_context()  # what log lines name, in whichever thread the commit runs
        item.ready.add_done_callback(lambda _: context.run(self._advance))
        return item.done

    def _upload(self, prepared: Prepared) -> None:
        def step() -> None:
            try:
                prepared.upload()
            except TransientError:
                self._uploads.failed()
                raise
            self._uploads.succeeded()

        self._retry(f"upload {next(self._numbers)}", step)

    def _advance(self) -> None:
        """Commit what is ready, unless another thread does."""
        while due := self._due():
            try:
                self._take(due)
            except BaseException as error:  # noqa: BLE001  # a future keeps whatever its step raised
                self._end(due, error)
            else:
                self._end(due, None)

    def _due(self) -> list[_Item]:
        """Take the uploaded batches from the head of the queue, or one step; none while busy."""
        with self._lock:
            due: list[_Item] = []
            while not self._busy and self._queue and self._queue[0].ready.done():
                item = self._queue[0]
                alone = item.step is not None or item.ready.exception() is not None
                if due and alone:
                    break
                due.append(self._queue.popleft())
                if alone:
                    break
            self._busy = self._busy or bool(due)
            return due

    def _take(self, items: Sequence[_Item]) -> None:
        for item in items:
            item.ready.result()
        prepared = [item.prepared for item in items if item.prepared is not None]
        step = items[0].step or (lambda: self.sink.commit(prepared))
        self._retry("", step)
        now = self._clock.monotonic()
        for item in items:
            if item.prepared is not None:
                self._committed(now - item.began)

    def _end(self, due: Sequence[_Item], error: BaseException | None) -> None:
        """Tell who waits, in the order of the batches, and release the lane."""
        for item in due:
            end(item.done, error)
        with self._lock:
            self._busy = False


def end(call: Future[None], error: BaseException | None) -> None:
    """End a future, with the error if there is one."""
    if error is None:
        call.set_result(None)
    else:
        call.set_exception(error)


def over(error: BaseException | None = None) -> Future[None]:
    """Return a future that has ended."""
    call: Future[None] = Future()
    end(call, error)
    return call


def ended(call: Future[Any], seconds: float) -> bool:
    """Whether a call has ended after `seconds` at most."""
    with suppress(TimeoutError):
        call.exception(seconds)
    return call.done()
