"""Trying again what fails by itself: full jitter, inside a budget."""

import random
from collections.abc import Callable
from typing import TypeVar

import structlog

from pinpip.clock import Clock
from pinpip.errors import FatalError, TransientError

FIRST_WAIT = 0.1
LONGEST_WAIT = 5.0
_log = structlog.get_logger()

T = TypeVar("T")


def retry(
    step: Callable[[], T], clock: Clock, rng: random.Random, budget: Callable[[], float]
) -> T:
    """The answer of `step`, tried again on TransientError while fewer than `budget()` seconds went.

    Raises FatalError when the budget is spent; every other error at once.
    """
    began, ceiling = clock.monotonic(), FIRST_WAIT
    while True:
        try:
            return step()
        except TransientError as error:
            spent = clock.monotonic() - began
            if spent >= budget():
                raise FatalError(
                    f"gave up after {spent:.0f} s: {error.message}",
                    error.hint or "mend the fault and start again: nothing is lost or doubled",
                ) from error
            _log.warning("trying_again", fault=error.message, seconds=round(spent, 1))
        clock.sleep(rng.uniform(0, ceiling))
        ceiling = min(2 * ceiling, LONGEST_WAIT)
