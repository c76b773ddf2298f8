"""Crash points inside a consumer, at the borders between its parts; the parts know nothing of it.

A plan names a point and how often it may be passed; then the process signals itself. Without a
plan nothing is wrapped.
"""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import structlog
from pydantic import BaseModel, ConfigDict

from core.clock import Clock, SystemClock
from core.protocols import Listener, Sink, Source

COMMITTED = "first new rows committed"
INTERRUPTED = "interrupted"
_log = structlog.get_logger()

T = TypeVar("T")


class Point(StrEnum):
    """Where a consumer may be interrupted."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    BEFORE_WRITE = "before clean write"
    CLEAN_FILE = "clean file written"
    AFTER_CLEAN = "after clean write"
    QUARANTINE_FILE = "quarantine file written"
    AFTER_QUARANTINE = "after quarantine write"
    ARCHIVE_OBJECT = "archive object written"
    AFTER_ARCHIVE = "after archive write"
    BEFORE_ACKNOWLEDGE = "before acknowledge"
    AFTER_ACKNOWLEDGE = "after acknowledge"


class Leap(BaseModel):
    """After `after` seconds the wall clock is off by `wall` more, the monotonic one ahead."""

    model_config = ConfigDict(frozen=True)
    after: float
    wall: float
    monotonic: float


class FailpointPlan(BaseModel):
    """What one consumer process does to itself.

    At passage number `passages` of `point` it sends itself `signal`, unless the file `calm` exists
    by then. The first passage of each point is noted in `journal`.
    """

    model_config = ConfigDict(frozen=True)
    journal: Path
    calm: Path
    point: Point | None = None
    passages: int = 1
    signal: Literal["KILL", "STOP", "TERM"] = "KILL"
    leaps: tuple[Leap, ...] = ()


Sides = tuple[Point | None, Point | None]
_LISTENER: Mapping[str, Sides] = {
    "assigned": (None, Point.ASSIGNED),
    "revoked": (None, Point.REVOKED),
}
_SOURCE: Mapping[str, Sides] = {
    "acknowledge": (Point.BEFORE_ACKNOWLEDGE, Point.AFTER_ACKNOWLEDGE),
}
_WRITES: Mapping[str, Sides] = {
    "clean": (Point.BEFORE_WRITE, Point.AFTER_CLEAN),
    "quarantine": (None, Point.AFTER_QUARANTINE),
    "archive": (None, Point.AFTER_ARCHIVE),
}
_PUTS: Mapping[str, Point] = {
    "clean": Point.CLEAN_FILE,
    "quarantine": Point.QUARANTINE_FILE,
    "archive": Point.ARCHIVE_OBJECT,
}


class Failpoints:
    """Puts one process's plan between its parts."""

    def __init__(self, plan: FailpointPlan) -> None:
        self._plan = plan
        self._trip = _Trip(plan, SystemClock())
        armed = f"{plan.signal} at {plan.point}" if plan.point else "no crash point"
        _log.warning("chaos", pid=os.getpid(), armed=armed, passages=plan.passages)

    def clock(self, clock: Clock) -> Clock:
        """Add the plan's leaps to the clock."""
        return LeapingClock(clock, self._plan.leaps) if self._plan.leaps else clock

    def source(self, source: Source) -> Source:
        """Wrap the source, and with it its listener."""
        return cast(Source, _WatchedSource(source, _SOURCE, self._trip.passed))

    def sink(self, sink: Sink) -> Sink:
        """Wrap the sink `clean`, `quarantine` or `archive …`."""
        sides = _WRITES[sink.name.split()[0]]
        return cast(Sink, _Watched(sink, {"write": sides}, self._trip.passed))

    def store(self, name: str, store: T) -> T:
        """Wrap the store behind the sink `name`."""
        point = _PUTS[name.split(maxsplit=1)[0]]
        return cast(T, _Watched(store, {"put_new": (None, point)}, self._trip.passed))


class LeapingClock:
    """A clock that is set wrong, and that finds time gone as after a suspended night."""

    def __init__(self, clock: Clock, leaps: tuple[Leap, ...]) -> None:
        self._clock = clock
        self._leaps = leaps
        self._began = clock.monotonic()

    def monotonic(self) -> float:
        """Monotonic seconds: they leap forward only."""
        return self._clock.monotonic() + sum(leap.monotonic for leap in self._due())

    def now(self) -> datetime:
        """Return the wall clock's time, hours early or late."""
        return self._clock.now() + timedelta(seconds=sum(leap.wall for leap in self._due()))

    def sleep(self, seconds: float) -> None:
        """Wait for as long as it really takes."""
        self._clock.sleep(seconds)

    def _due(self) -> list[Leap]:
        age = self._clock.monotonic() - self._began
        return [leap for leap in self._leaps if age >= leap.after]


class _Trip:
    """Counts passages, from any thread, and interrupts the process at the planned one."""

    def __init__(self, plan: FailpointPlan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._count: Counter[Point] = Counter()
        self._lock = threading.Lock()
        self._noted: set[str] = set()

    def passed(self, point: Point) -> None:
        with self._lock:
            self._count[point] += 1
            self._note(point)
            if point is Point.AFTER_CLEAN and self._count[Point.CLEAN_FILE]:
                self._note(COMMITTED)
            due = self._is_due(point)
            if due:
                self._note(INTERRUPTED)
        if due:
            os.kill(os.getpid(), signal.Signals[f"SIG{self._plan.signal}"])

    def _is_due(self, point: Point) -> bool:
        plan = self._plan
        reached = point is plan.point and self._count[point] == plan.passages
        return reached and not plan.calm.exists()

    def _note(self, what: str) -> None:
        if what in self._noted:
            return
        self._noted.add(what)
        line = json.dumps({"what": what, "at": self._clock.monotonic()})
        with self._plan.journal.open("a", encoding="utf-8") as journal:
            journal.write(line + "\n")


class _Watched:
    """A part of which some methods pass a point before or after they did their work."""

    def __init__(
        self, part: object, sides: Mapping[str, Sides], passed: Callable[[Point], None]
    ) -> None:
        self._part = part
        self._sides = sides
        self._passed = passed

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return self._between(found, *self._sides[name]) if name in self._sides else found

    def _between(
        self, call: Callable[..., Any], before: Point | None, after: Point | None
    ) -> Callable[..., Any]:
        @wraps(call)
        def passing(*arguments: Any, **named: Any) -> Any:
            if before is not None:
                self._passed(before)
            answer = call(*arguments, **named)
            if after is not None:
                self._passed(after)
            return answer

        return passing


class _WatchedSource(_Watched):
    """A source whose listener is watched as well."""

    def open(self, listener: Listener) -> None:
        watched = cast(Listener, _Watched(listener, _LISTENER, self._passed))
        self._part.open(watched)  # type: ignore[attr-defined]
