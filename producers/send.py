"""The driver: paces events, deals them out to routes, sends in batches and keeps count."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.clock import Clock, SystemClock
from core.errors import FatalError
from producers import hints
from producers.bad import Spoiler
from producers.delivery import Outcome, Outgoing, Result, Send
from producers.event import Event

LINGER = 0.5
_UNSENT = Result(Outcome.REJECTED, error="not sent")
BURST = 1.0


@dataclass(frozen=True)
class Route:
    """A way to send: `targets` names the topic or stream of each record type.

    `text_only`: the route carries JSON values and text, not any bytes (the Kinesis HTTP route).
    """

    send: Send
    targets: Mapping[str, str]
    text_only: bool = False


@dataclass(frozen=True)
class Summary:
    """How many records went where: `outcomes` by (topic or stream, outcome).

    `bad`: how many of each target's records were bad on purpose. `errors`: how often each error,
    `hints`: what to do about it.
    """

    outcomes: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    hints: dict[str, str] = field(default_factory=dict)

    def total(self, outcome: Outcome) -> int:
        """Records with this outcome over all targets."""
        return sum(n for (_, found), n in self.outcomes.items() if found is outcome)

    def stored(self, target: str) -> int:
        """Records that `target` acknowledged, bad ones included."""
        return self.outcomes[target, Outcome.STORED]

    def note(self, target: str, results: Sequence[Result]) -> None:
        """Count the results of one batch."""
        self.outcomes.update((target, result.outcome) for result in results)
        failed = [result for result in results if result.error]
        self.errors.update(result.error for result in failed)
        self.hints.update({result.error: result.hint for result in failed if result.hint})


@dataclass(frozen=True)
class Driver:
    """Sends events by `routes`, which take turns, in batches of at most `batch` records.

    `rate`: events a second, None for as fast as they are taken. A batch that is not full goes
    after half a second. `progress` hears of each event taken; `stopping` is asked before each.
    `summary` counts as it goes, so that it holds also when the run ends by an error.
    """

    routes: Sequence[Route]
    batch: int = 500
    rate: float | None = None
    spoiler: Spoiler = field(default_factory=Spoiler)
    clock: Clock = field(default_factory=SystemClock)
    progress: Callable[[int], None] = lambda _: None
    stopping: Callable[[], bool] = lambda: False
    summary: Summary = field(default_factory=Summary)

    def run(self, events: Iterable[Event]) -> Summary:
        """Send all `events`, or those before `stopping` says so; what waits is sent as well.

        Raises FatalError when a target takes none of a batch: what follows would fare no better.
        """
        outbox = _Outbox(self.routes, self.batch, self.clock, self.summary)
        try:
            self._feed(events, outbox)
            outbox.flush()
        finally:
            outbox.abandon()
        return self.summary

    def _feed(self, events: Iterable[Event], outbox: "_Outbox") -> None:
        pacer = _Pacer(self.rate, self.clock)
        for number, event in enumerate(events):
            pacer.wait(outbox.expire, self.stopping)
            if self.stopping():
                break
            self._deal(number, event, outbox)
            self.progress(1)

    def _deal(self, number: int, event: Event, outbox: "_Outbox") -> None:
        turn = number % len(self.routes)
        route = self.routes[turn]
        for record, row in event.rows.items():
            outbox.put(turn, record, Outgoing(event.key, row))
            for value in self.spoiler.beside(number, record, row, text_only=route.text_only):
                outbox.summary.bad[route.targets[record]] += 1
                outbox.put(turn, record, Outgoing(event.key, value))


class _Outbox:
    """Records that wait for their batch to fill, by route and record type."""

    def __init__(self, routes: Sequence[Route], batch: int, clock: Clock, summary: Summary) -> None:
        self.summary = summary
        self._routes, self._batch, self._clock = routes, batch, clock
        self._waiting: dict[tuple[int, str], list[Outgoing]] = {}
        self._flushed = clock.monotonic()

    def put(self, turn: int, record: str, outgoing: Outgoing) -> None:
        held = self._waiting.setdefault((turn, record), [])
        held.append(outgoing)
        if len(held) >= self._batch:
            self._send(turn, record)

    def expire(self) -> None:
        """Send what waits, if that was not done for a while."""
        if self._clock.monotonic() - self._flushed >= LINGER:
            self.flush()

    def flush(self) -> None:
        for turn, record in list(self._waiting):
            self._send(turn, record)
        self._flushed = self._clock.monotonic()

    def _send(self, turn: int, record: str) -> None:
        route, outgoing = self._routes[turn], self._waiting.pop((turn, record))
        target = route.targets[record]
        try:
            results = route.send(target, outgoing)
        except FatalError as error:
            lost = Result(Outcome.UNKNOWN, error=error.message, hint=error.hint)
            self.summary.note(target, [lost] * len(outgoing))
            raise
        self.summary.note(target, results)
        if all(result.outcome is Outcome.REJECTED for result in results):
            raise FatalError(
                f"{target} took none of {len(outgoing)} records: {results[0].error}",
                results[0].hint or hints.ELSEWHERE,
            )

    def abandon(self) -> None:
        """Count what still waits as not stored: after an error it is not sent any more."""
        for turn, record in list(self._waiting):
            unsent = self._waiting.pop((turn, record))
            self.summary.note(self._routes[turn].targets[record], [_UNSENT] * len(unsent))


class _Pacer:
    """Spaces events evenly; after a delay it catches up on at most one second's worth."""

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._clock = clock
        self._due = clock.monotonic()

    def wait(self, idle: Callable[[], None], stopping: Callable[[], bool]) -> None:
        """Return when the next event is due or `stopping`; calls `idle` before each sleep."""
        if not self._interval:
            return
        self._due = max(self._due, self._clock.monotonic() - BURST)
        while not stopping() and (left := self._due - self._clock.monotonic()) > 0:
            idle()
            self._clock.sleep(min(left, LINGER))
        self._due += self._interval
