"""Keeps what is slow to find out fresh, in a thread of its own; no call waits for it."""

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from core.clock import Clock

FRESH_S = 5.0  # what is asked for is no older
IDLE_S = 60.0  # nor anything else
_LONGEST_WAIT_S = 60.0
T = TypeVar("T")


class Watch(Generic[T]):
    """What each of some looks found last; `first` before the first look.

    `looks`: by name, raising nothing. What is asked for is renewed when it is older than five
    seconds, anything else each minute, but looking takes no more than `share` of the time.
    """

    def __init__(
        self, looks: Mapping[str, Callable[[], T]], first: T, clock: Clock, share: float
    ) -> None:
        self._looks = looks
        self._clock = clock
        self._rest = 1 / share - 1  # seconds of rest after each second of looking
        self._views = dict.fromkeys(looks, first)
        self._ended: dict[str, float] = {}
        self._asked: set[str] = set()
        self._until = clock.monotonic()  # the end of the rest
        self._began: tuple[str, float] | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look under way is not waited for."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait for a look under way."""
        self._thread.join(timeout)

    def view(self, name: str) -> T:
        """Return what was found last, and let it be renewed soon."""
        self._asked.add(name)
        self._wake.set()
        return self._views[name]

    def latest(self, name: str) -> T:
        """Return what was found last; it is renewed each minute."""
        return self._views[name]

    def waits(self, name: str) -> float:
        """Return for how many seconds a look has been under way; 0: there is none."""
        began = self._began
        return self._clock.monotonic() - began[1] if began and began[0] == name else 0.0

    def turn(self) -> float:
        """Take the look that is due for longest, if any; return the seconds to the next."""
        now = self._clock.monotonic()
        name = min(self._looks, key=self._due)
        if now < max(self._due(name), self._until):
            return max(self._due(name), self._until) - now
        self._asked.discard(name)
        self._began = name, now
        self._views[name] = self._looks[name]()
        ended = self._ended[name] = self._clock.monotonic()
        self._began = None
        self._until = ended + (ended - now) * self._rest
        return self._until - ended

    def _due(self, name: str) -> float:
        """When the look is due; at once when it was never taken."""
        every = FRESH_S if name in self._asked else IDLE_S
        return self._ended.get(name, -every) + every

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self._wake.wait(min(self.turn(), _LONGEST_WAIT_S))
