"""Failpoints around the parts of a consumer: source, listener, sinks and stores.

A plan names a failpoint and a number of passages; at that passage the process signals itself.
Without a plan no part is wrapped.
"""

import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import structlog
from pydantic import BaseModel, ConfigDict

from chaos.points import SINKS, Failpoint, SinkPassages, WrappedSink, WrappedStore
from core.clock import Clock, SystemClock
from core.protocols import Listener, Sink, Source

COMMITTED = "first new rows committed"
INTERRUPTED = "interrupted"
_log = structlog.get_logger()

T = TypeVar("T")


class ClockJump(BaseModel):
    """After `after` seconds both clocks jump, by `wall` and by `monotonic` seconds."""

    model_config = ConfigDict(frozen=True)
    after: float
    wall: float
    monotonic: float


class FailpointPlan(BaseModel):
    """What one consumer process does to itself.

    At passage number `passages` of `point` it sends itself `signal`, unless the file `disarmed`
    exists. The first passage of each failpoint is written to `journal`.
    """

    model_config = ConfigDict(frozen=True)
    journal: Path
    disarmed: Path
    point: Failpoint | None = None
    passages: int = 1
    signal: Literal["KILL", "STOP", "TERM"] = "KILL"
    jumps: tuple[ClockJump, ...] = ()


BeforeAfter = tuple[Failpoint | None, Failpoint | None]
_LISTENER: Mapping[str, BeforeAfter] = {
    "assigned": (None, Failpoint.ASSIGNED),
    "revoked": (None, Failpoint.REVOKED),
}
_SOURCE: Mapping[str, BeforeAfter] = {
    "acknowledge": (Failpoint.BEFORE_ACKNOWLEDGE, Failpoint.AFTER_ACKNOWLEDGE),
}


class Failpoints:
    """A core.protocols.FaultInjector that wraps the parts of one process by its plan."""

    def __init__(self, plan: FailpointPlan) -> None:
        self._plan = plan
        self._counter = _PassageCounter(plan, SystemClock())
        self._of: dict[str, SinkPassages] = {}
        armed = f"{plan.signal} at {plan.point}" if plan.point else "no failpoint"
        _log.warning("chaos", pid=os.getpid(), armed=armed, passages=plan.passages)

    def clock(self, clock: Clock) -> Clock:
        """Return the clock with the plan's jumps."""
        return JumpingClock(clock, self._plan.jumps) if self._plan.jumps else clock

    def source(self, source: Source) -> Source:
        """Wrap the source, and the listener that it is opened with."""
        return cast(Source, _WrappedSource(source, _SOURCE, self._counter.passed))

    def sink(self, sink: Sink) -> Sink:
        """Wrap the sink `clean`, `quarantine` or `archive …`."""
        return cast(Sink, WrappedSink(sink, self._passages(sink.name)))

    def store(self, name: str, store: T) -> T:
        """Wrap the store of the sink `name`."""
        return cast(T, WrappedStore(store, self._passages(name)))

    def _passages(self, name: str) -> "SinkPassages":
        """Return those of a sink; its store shares them."""
        if name not in self._of:
            points = SINKS[name.split(maxsplit=1)[0]]
            self._of[name] = SinkPassages(points, self._counter.passed)
        return self._of[name]


class JumpingClock:
    """A clock with the wrong time, and with time missing as after a suspended machine."""

    def __init__(self, clock: Clock, jumps: tuple[ClockJump, ...]) -> None:
        self._clock = clock
        self._jumps = jumps
        self._began = clock.monotonic()

    def monotonic(self) -> float:
        """Return monotonic seconds: they jump forward only."""
        return self._clock.monotonic() + sum(jump.monotonic for jump in self._due())

    def now(self) -> datetime:
        """Return the wall clock, hours early or late."""
        return self._clock.now() + timedelta(seconds=sum(jump.wall for jump in self._due()))

    def sleep(self, seconds: float) -> None:
        """Wait `seconds` of real time."""
        self._clock.sleep(seconds)

    def _due(self) -> list[ClockJump]:
        age = self._clock.monotonic() - self._began
        return [jump for jump in self._jumps if age >= jump.after]


class _PassageCounter:
    """Counts passages on any thread, and signals the process at the planned one."""

    def __init__(self, plan: FailpointPlan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._count: Counter[Failpoint] = Counter()
        self._lock = threading.Lock()
        self._noted: set[str] = set()

    def passed(self, point: Failpoint) -> None:
        with self._lock:
            self._count[point] += 1
            self._note(point)
            if point is Failpoint.AFTER_CLEAN and self._count[Failpoint.CLEAN_FILE]:
                self._note(COMMITTED)
            due = self._is_due(point)
            if due:
                self._note(INTERRUPTED)
        if due:
            os.kill(os.getpid(), signal.Signals[f"SIG{self._plan.signal}"])

    def _is_due(self, point: Failpoint) -> bool:
        plan = self._plan
        reached = point is plan.point and self._count[point] == plan.passages
        return reached and not plan.disarmed.exists()

    def _note(self, what: str) -> None:
        if what in self._noted:
            return
        self._noted.add(what)
        line = json.dumps({"what": what, "at": self._clock.monotonic()})
        with self._plan.journal.open("a", encoding="utf-8") as journal:
            journal.write(line + "\n")


class _Wrapped:
    """A part; some of its methods pass a failpoint before or after their call."""

    def __init__(
        self, part: object, points: Mapping[str, BeforeAfter], passed: Callable[[Failpoint], None]
    ) -> None:
        self._part = part
        self._points = points
        self._passed = passed

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return self._wrap(found, *self._points[name]) if name in self._points else found

    def _wrap(
        self, call: Callable[..., Any], before: Failpoint | None, after: Failpoint | None
    ) -> Callable[..., Any]:
        @wraps(call)
        def passing(*arguments: Any, **named: Any) -> Any:
            if before is not None:
                self._passed(before)
            returned = call(*arguments, **named)
            if after is not None:
                self._passed(after)
            return returned

        return passing


class _WrappedSource(_Wrapped):
    """A source that wraps its listener too."""

    def open(self, listener: Listener) -> None:
        wrapped = cast(Listener, _Wrapped(listener, _LISTENER, self._passed))
        self._part.open(wrapped)  # type: ignore[attr-defined]
