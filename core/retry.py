"""Retrying transient faults: exponential back-off with full jitter, inside a budget."""

import random
from collections.abc import Callable
from typing import TypeVar

from core.clock import Clock
from core.errors import FatalError, StalePosition, TransientError, UnknownFault
from core.outage import Outage

FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
GLANCE = 0.5  # a wait is looked at so often: the budget shrinks when the process is to stop
DOUBT = 120.0  # seconds in which an UnknownFault must be over

T = TypeVar("T")


def retry(
    step: Callable[[], T],
    clock: Clock,
    rng: random.Random,
    budget: Callable[[], float],
    outage: Outage,
) -> T:
    """The answer of `step`, tried again on TransientError while fewer than `budget()` seconds went.

    `budget` is asked again and again: it may shrink. `outage` hears of each fault and of the end.
    Raises FatalError when the budget is spent; every other error at once.
    """
    began, ceiling = clock.monotonic(), FIRST_WAIT

    def is_spent(error: TransientError) -> bool:
        limit = min(budget(), DOUBT) if isinstance(error, UnknownFault) else budget()
        return clock.monotonic() - began >= limit

    while True:
        outage.called()
        try:
            answer = step()
        except TransientError as error:
            outage.failed("", error.message, error.hint)
            _wait(rng.uniform(0, ceiling), clock, lambda e=error: is_spent(e))  # type: ignore[misc]
            if is_spent(error):
                raise FatalError(
                    f"gave up after {clock.monotonic() - began:.0f} s: {error.message}",
                    error.hint or "remove the cause and start again: nothing is lost or doubled",
                ) from error
        except StalePosition:
            outage.over()  # the store answered
            raise
        else:
            outage.over()
            return answer
        ceiling = min(2 * ceiling, LONGEST_WAIT)


def _wait(seconds: float, clock: Clock, is_over: Callable[[], bool]) -> None:
    """Sleep, but no longer than until `is_over`."""
    end = clock.monotonic() + seconds
    while (left := end - clock.monotonic()) > 0 and not is_over():
        clock.sleep(min(left, GLANCE))
