"""`pinpip consume --until-end` in this process, less the seconds that a start costs."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from consumers.engine.loop import THREADS
from core.clock import SystemClock
from core.observer import Unobserved
from pinpip.until_end import UntilEndRun
from tests.support.processes import Home
from tests.support.waiting import PATIENCE


@contextmanager
def ending(home: Home) -> Iterator[tuple[UntilEndRun, "Future[None]"]]:
    """Run the home's pipeline until its end while the block runs; stop it after the block."""
    clock = SystemClock()
    with ThreadPoolExecutor(THREADS) as threads:
        run = UntilEndRun(home.config, "user", clock, threads, Unobserved(clock))
        running = threads.submit(run.run)
        try:
            yield run, running
        finally:
            run.stop()
            running.result(PATIENCE)


def taken(home: Home) -> int:
    """Run the home's pipeline to its end; return how many records it took."""
    with ending(home) as (run, running):
        running.result(PATIENCE)
        assert run.is_complete
        assert run.behind() == []
    return run.records
