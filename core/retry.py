"""Transient faults: calls tried again with back-off, and outages that are told once each.

The policy is the same for every source and store (docs/exactly-once.md): what does not answer at
the start stops the process; afterwards a consumer waits as long as it takes.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import RLock
from types import MappingProxyType
from typing import TypeVar

import structlog

from core.clock import Clock
from core.errors import FatalError, StalePosition, TransientError, UnknownFault

FIRST_WAIT_S = 0.1
MAX_WAIT_S = 5.0
LOOK_INTERVAL_S = (
    0.5  # a wait is looked at so often: the budget shrinks when the process is to stop
)
MAX_DOUBT_S = 120.0  # seconds in which an UnknownFault must be over
NOTICE_AFTER_S = 5.0  # seconds that faults last before they are worth a line of the log
QUIET_S = 60.0  # seconds from one line that tells of an outage to the next of the same part
SILENCE_AFTER_S = 30.0  # the same for a call that has not come back yet: it may only be slow

T = TypeVar("T")
_log = structlog.get_logger()


class Outage:
    """The transient faults of one part of a pipeline: of its source, or of one of its sinks.

    A part may fail in several places (the shards of a stream, the uploads of a sink), from several
    threads: it is one outage from the first of them until none fails any more. Its begin and its
    end are logged, but not another one within QUIET_S: those are counted. `count` is called for
    each fault, with its kind. `about`: what else the lines name: the pipeline, the endpoint.
    Another thread may ask `seconds`, `fault` and `hint`.
    """

    def __init__(
        self,
        part: str,
        clock: Clock,
        count: Callable[[str], None] = lambda _: None,
        about: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.part = part
        self._clock = clock
        self._count = count
        self._about = {**about, "part": part}
        self._since: dict[str, float] = {}
        self._failing: set[str] = set()
        self._lock = RLock()
        self._fault: dict[str, str] = {}
        self._noted: float | None = None
        self._told: float | None = None
        self._held_back = False
        self._repeats = 0

    def called(self, where: str = "") -> None:
        """Note that a call begins."""
        self._since.setdefault(where, self._clock.monotonic())

    def failed(self, where: str, fault: str, hint: str = "", kind: str = "TransientError") -> None:
        """Note that a call failed and will be tried again; `kind` as that of TransientError."""
        self._count(kind)
        told = {"where": where, "error": fault, "next": hint}
        with self._lock:
            self.called(where)
            self._failing.add(where)
            self._fault = {name: value for name, value in told.items() if value}
            if self._clock.monotonic() - self._since[where] >= NOTICE_AFTER_S:
                self._note(self._fault)

    def over(self, where: str = "") -> None:
        """Note that a call succeeded, or that the place is no longer called."""
        with self._lock:
            self._since.pop(where, None)
            self._failing.discard(where)
            if not self._failing:
                self._end()

    def _end(self) -> None:
        self._fault = {}
        if self._noted is not None:
            seconds = round(self._clock.monotonic() - self._noted)
            _log.warning("outage_over", **self._about, seconds=seconds)
            self._noted = None
        self._repeats += self._held_back
        self._held_back = False

    def look(self) -> None:
        """Note the last fault, or a call that does not come back, once it has lasted."""
        with self._lock:
            if self.seconds() >= (NOTICE_AFTER_S if self._fault else SILENCE_AFTER_S):
                self._note(self._fault or {"error": "no response yet"})

    def seconds(self) -> float:
        """How long there has been no good answer; 0.0 while no call is under way."""
        oldest = min(list(self._since.values()), default=None)
        return 0.0 if oldest is None else self._clock.monotonic() - oldest

    @property
    def fault(self) -> str:
        """The last fault; empty when none is left, or while a call is only slow."""
        return self._fault.get("error", "")

    @property
    def hint(self) -> str:
        """What to do about the last fault; empty where there is nothing to do."""
        return self._fault.get("next", "")

    def _note(self, told: Mapping[str, str]) -> None:
        if self._noted is not None:
            return
        now = self._clock.monotonic()
        self._held_back = self._told is not None and now - self._told < QUIET_S
        if not self._held_back:
            self._told, self._noted = now, now - self.seconds()
            own = {**self._about, "seconds": round(self.seconds()), **told}
            _log.warning("outage", **own, **({"repeats": self._repeats} if self._repeats else {}))
            self._repeats = 0


@dataclass
class Backoff:
    """Exponential backoff with full jitter; `ceiling` is the longest next wait, in seconds."""

    rng: random.Random = field(default_factory=random.Random)
    first: float = FIRST_WAIT_S
    longest: float = MAX_WAIT_S
    ceiling: float = field(init=False)

    def __post_init__(self) -> None:
        self.reset()

    def wait(self) -> float:
        """Return the seconds to wait after one more failure; the next ceiling is the double."""
        seconds = self.rng.uniform(0, self.ceiling)
        self.ceiling = min(2 * self.ceiling, self.longest)
        return seconds

    def reset(self) -> None:
        """Begin again, after a success."""
        self.ceiling = self.first


def retry(
    step: Callable[[], T],
    clock: Clock,
    rng: random.Random,
    budget: Callable[[], float],
    outage: Outage,
    where: str = "",
) -> T:
    """Call `step` and return its answer; on TransientError call it again for `budget()` seconds.

    `budget` is asked again and again: it may shrink. `outage` hears of each fault and of the end;
    `where` keeps calls apart that run at once.
    Raises FatalError when the budget is spent; every other error at once.
    """
    began, backoff = clock.monotonic(), Backoff(rng)

    def is_spent(error: TransientError) -> bool:
        limit = min(budget(), MAX_DOUBT_S) if isinstance(error, UnknownFault) else budget()
        return clock.monotonic() - began >= limit

    while True:
        outage.called(where)
        try:
            answer = step()
        except TransientError as error:
            outage.failed(where, error.message, error.hint, error.kind)
            _wait(backoff.wait(), clock, lambda e=error: is_spent(e))  # type: ignore[misc]
            if is_spent(error):
                raise FatalError(
                    f"gave up after {clock.monotonic() - began:.0f} s: {error.message}",
                    error.hint or "remove the cause and start again: nothing is lost or doubled",
                ) from error
        except StalePosition:
            outage.over(where)  # the store answered
            raise
        else:
            outage.over(where)
            return answer


def _wait(seconds: float, clock: Clock, is_over: Callable[[], bool]) -> None:
    """Sleep, but no longer than until `is_over`."""
    end = clock.monotonic() + seconds
    while (left := end - clock.monotonic()) > 0 and not is_over():
        clock.sleep(min(left, LOOK_INTERVAL_S))
