"""Time as an argument: everything that waits or expires is handed a clock."""

import time
from datetime import UTC, datetime
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """The calls on time that the rooms may make."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards, for waiting and expiry."""
        ...

    def now(self) -> datetime:
        """Return the wall clock in UTC, for what people read."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        ...


class SystemClock:
    """The machine's own time."""

    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
    now = staticmethod(partial(datetime.now, UTC))
