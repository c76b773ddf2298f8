"""Keeps a look at the tables of some pipelines fresh, in a thread of its own, at little cost."""

import threading
from collections.abc import Callable, Mapping

from core.clock import Clock
from pinpip.lake.view import LakeView

FRESH_S = 5.0  # what is looked at is no older
IDLE_S = 60.0  # nor anything else: metrics tell of files
SHARE = 0.01  # of the time
_LONGEST_WAIT_S = 60.0


class LakeWatch:
    """What the tables of each pipeline said last; no call waits for a table.

    `looks`: how to look at each pipeline's tables, raising nothing. A view that is asked for is
    renewed when it is older than five seconds, any other each minute, but looking takes no more
    than `share` of the time: a slow store makes the views older, not the consumer slower.
    """

    def __init__(
        self,
        looks: Mapping[str, Callable[[], LakeView]],
        clock: Clock,
        share: float = SHARE,
    ) -> None:
        self._looks = looks
        self._clock = clock
        self._rest = 1 / share - 1  # seconds of rest after each second of looking
        self._views = dict.fromkeys(looks, LakeView())
        self._ended: dict[str, float] = {}
        self._asked: set[str] = set()
        self._until = clock.monotonic()  # the end of the rest
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="lake", daemon=True)

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

    def view(self, name: str) -> LakeView:
        """Return what the pipeline's tables said last, and let it be renewed soon."""
        self._asked.add(name)
        self._wake.set()
        return self._views[name]

    def latest(self, name: str) -> LakeView:
        """Return what the pipeline's tables said last, for metrics: renewed each minute."""
        return self._views[name]

    def turn(self) -> float:
        """Look at the pipeline that is due for longest, if any; return the seconds to the next."""
        began = self._clock.monotonic()
        name = min(self._looks, key=self._due)
        if began < max(self._due(name), self._until):
            return max(self._due(name), self._until) - began
        self._asked.discard(name)
        self._views[name] = self._looks[name]()
        ended = self._ended[name] = self._clock.monotonic()
        self._until = ended + (ended - began) * self._rest
        return self._until - ended

    def _due(self, name: str) -> float:
        """When the pipeline is due; at once when it was never looked at."""
        every = FRESH_S if name in self._asked else IDLE_S
        return self._ended.get(name, -every) + every

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self._wake.wait(min(self.turn(), _LONGEST_WAIT_S))
