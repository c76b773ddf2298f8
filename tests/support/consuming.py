"""A consumer in this process: what `pinpip consume` runs, less the seconds that a start costs."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from consumers.engine.loop import THREADS
from core.batch import Batch
from core.clock import SystemClock
from core.observer import Unobserved
from pinpip.pipelines import loop_of
from tests.support.processes import Home, until


@contextmanager
def consuming(home: Home, name: str = "user", **options: Any) -> Iterator[Callable[[], bool]]:
    """Run a pipeline of the home in a thread while the block runs; raise its error at the end.

    Yields a function that says whether the pipeline has ended.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        loop = loop_of(home.config, name, SystemClock(), threads, **options)
        running = threads.submit(loop.run)
        try:
            yield running.done
        finally:
            loop.stop()
            running.result(60)


def consumed(home: Home, done: Callable[[], bool], **options: Any) -> Home:
    """`home` after its consumer ran until `done`."""
    with consuming(home, **options) as ended:
        until(lambda: ended() or done(), "what the consumer was awaited for")
    return home


def consume(home: Home, done: Callable[[], bool], *, begins: bool = False) -> int:
    """Run the pipeline in this process until `done`; how many records it read."""
    read: list[Batch] = []
    with ThreadPoolExecutor(3) as workers:
        observer = Unobserved(clock := SystemClock(), read.append)
        loop = loop_of(home.config, "user", clock, workers, observer, begins=begins)
        running = workers.submit(loop.run)
        try:
            until(lambda: running.done() or done(), "the end of the work")
        finally:
            loop.stop()
        running.result()
    return sum(span.records for batch in read for span in batch.spans.values())
