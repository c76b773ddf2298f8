"""Trying again what fails by itself: full jitter, inside a budget."""

import random
from collections.abc import Callable
from typing import TypeVar

import structlog

from pinpip.clock import Clock
from pinpip.errors import FatalError, TransientError

FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
GLANCE = 0.5  # a wait is looked at so often: the budget shrinks when the process is to stop
_log = structlog.get_logger()

T = TypeVar("T")


def retry(
    step: Callable[[], T], clock: Clock, rng: random.Random, budget: Callable[[], float]
) -> T:
    """The answer of `step`, tried again on TransientError while fewer than `budget()` seconds went.

    `budget` is asked again and again: it may shrink. Raises FatalError when it is spent; every
    other error at once.
    """
    began, ceiling = clock.monotonic(), FIRST_WAIT

    def spent() -> float:
        return clock.monotonic() - began

    while True:
        try:
            return step()
        except TransientError as error:
            _log.warning("trying_again", fault=error.message, seconds=round(spent(), 1))
            _wait(rng.uniform(0, ceiling), clock, lambda: spent() >= budget())
            if spent() >= budget():
                raise FatalError(
                    f"gave up after {spent():.0f} s: {error.message}",
                    error.hint or "mend the fault and start again: nothing is lost or doubled",
                ) from error
        ceiling = min(2 * ceiling, LONGEST_WAIT)


def _wait(seconds: float, clock: Clock, is_over: Callable[[], bool]) -> None:
    """Sleep, but no longer than until `is_over`."""
    end = clock.monotonic() + seconds
    while (left := end - clock.monotonic()) > 0 and not is_over():
        clock.sleep(min(left, GLANCE))
