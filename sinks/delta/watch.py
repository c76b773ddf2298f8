"""When the writer of a log looks whether that is still whole.

A put-if-absent that succeeds says that the version was free, not that anybody reads it: the log
before it may have been deleted, or the version written, checkpointed and cleaned up by others. The
latter takes PAUSE_S at least, unless the table keeps its log for less than LEAST_RETENTION.
"""

from datetime import timedelta
from typing import NamedTuple

from core.clock import Clock

LOOK_EVERY = 25  # commits
PAUSE_S = 60.0  # since the last commit: others may have gone far
CALM = 100  # commits without a conflict, then there is no other writer
LEAST_RETENTION = timedelta(hours=1)


class Moment(NamedTuple):
    """A time by both clocks: the monotonic one may stand still while the machine sleeps."""

    monotonic: float
    wall: float

    def seconds_since(self, before: "Moment") -> float:
        """Return the longer of the two times between them."""
        return max(self.monotonic - before.monotonic, abs(self.wall - before.wall))


class Watch:
    """Counts commits and time since the log was looked at; `alert`: look at every commit."""

    def __init__(self, clock: Clock, *, alert: bool) -> None:
        self._clock = clock
        self._alert = alert
        self._beside = 0
        self._commits = LOOK_EVERY  # an opened log is looked at with its first commit
        self._acted = self.moment()

    def moment(self) -> Moment:
        """Return the time."""
        return Moment(self._clock.monotonic(), self._clock.now().timestamp())

    @property
    def is_due_before(self) -> bool:
        """Whether to look before the next put."""
        return self._alert or self._has_paused

    @property
    def is_due_after(self) -> bool:
        """Whether to look after the put that has just succeeded."""
        return self.is_due_before or self._beside > 0 or self._commits >= LOOK_EVERY - 1

    @property
    def _has_paused(self) -> bool:
        return self.moment().seconds_since(self._acted) > PAUSE_S

    def looked(self, began: Moment) -> None:
        """Note that the log was whole, by requests that began then."""
        self._acted, self._commits = began, 0

    def committed(self, began: Moment, *, looked: bool) -> None:
        """Note a commit whose put began then."""
        self._acted = began
        self._beside = max(0, self._beside - 1)
        self._commits = 0 if looked else self._commits + 1

    def conflicted(self) -> None:
        """Note that there is another writer."""
        self._beside = CALM
