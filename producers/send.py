"""The driver: it paces events, distributes them to routes, sends batches and counts reports."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.clock import Clock, SystemClock
from core.errors import FatalError
from producers import hints
from producers.delivery import DeliveryReport, DeliveryStatus, ProducerRecord, Send
from producers.event import Event
from producers.malformed import MalformedRecords
from producers.rows.inputs import InputError

LINGER_S = 0.5
MAX_BURST_S = 1.0
_NOT_SENT = DeliveryReport(DeliveryStatus.REJECTED, error="not sent")


@dataclass(frozen=True)
class SendRoute:
    """A function to send by, and the topic or stream (`targets`) of each record type that it takes.

    `text_only`: the route accepts JSON values and text, not any bytes (the Kinesis HTTP route).
    """

    send: Send
    targets: Mapping[str, str]
    text_only: bool = False


@dataclass(frozen=True)
class Summary:
    """Counts of records: `outcomes` by topic or stream (target) and status.

    `bad`: the malformed records of each target. `errors`: the count of each error; `hints`: what to
    do about it.
    """

    outcomes: Counter[tuple[str, DeliveryStatus]] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    hints: dict[str, str] = field(default_factory=dict)

    def total(self, status: DeliveryStatus) -> int:
        """Return the number of records with this status over all targets."""
        return sum(n for (_, found), n in self.outcomes.items() if found is status)

    def stored(self, target: str) -> int:
        """Return the number of records that `target` stored, malformed ones included."""
        return self.outcomes[target, DeliveryStatus.STORED]

    def note(self, target: str, reports: Sequence[DeliveryReport]) -> None:
        """Count the reports of one batch."""
        self.outcomes.update((target, report.status) for report in reports)
        failed = [report for report in reports if report.error]
        self.errors.update(report.error for report in failed)
        self.hints.update({report.error: report.hint for report in failed if report.hint})


@dataclass(frozen=True)
class Driver:
    """Sends events by the routes for them in turn, in batches of at most `batch` records.

    `rate`: events per second; None means no limit. An incomplete batch is sent after LINGER_S.
    `progress` is called for each event; `stopping` is called before each one. `summary` is
    up to date at any time, also when the run ends with an error.
    """

    routes: Sequence[SendRoute]
    batch: int = 500
    rate: float | None = None
    malformed: MalformedRecords = field(default_factory=MalformedRecords)
    clock: Clock = field(default_factory=SystemClock)
    progress: Callable[[int], None] = lambda _: None
    stopping: Callable[[], bool] = lambda: False
    summary: Summary = field(default_factory=Summary)

    def run(self, events: Iterable[Event]) -> Summary:
        """Send all `events`, or those before `stopping` returns True, and incomplete batches.

        Raises FatalError when a target rejects a whole batch: the next one would fail as well. When
        `events` ends with an InputError, the events before it are sent.
        """
        outbox = _Outbox(self.routes, self.batch, self.clock, self.summary)
        try:
            self._feed(events, outbox)
            outbox.flush()
        except InputError:
            outbox.flush()
            if not self.stopping():  # a stop ends an input early
                raise
        finally:
            outbox.abandon()
        return self.summary

    def _feed(self, events: Iterable[Event], outbox: "_Outbox") -> None:
        pacer = _Pacer(self.rate, self.clock)
        for number, event in enumerate(events):
            pacer.wait(outbox.expire, self.stopping)
            if self.stopping():
                break
            self._distribute(number, event, outbox)
            self.progress(1)

    def _distribute(self, number: int, event: Event, outbox: "_Outbox") -> None:
        for record, row in event.rows.items():
            turns = self._turns(record)
            turn = turns[number % len(turns)]
            route = self.routes[turn]
            outbox.put(turn, record, ProducerRecord(event.key, row))
            for value in self.malformed.beside(number, record, row, text_only=route.text_only):
                outbox.summary.bad[route.targets[record]] += 1
                outbox.put(turn, record, ProducerRecord(event.key, value))

    def _turns(self, record: str) -> list[int]:
        """Return the numbers of the routes for a record type."""
        return [n for n, route in enumerate(self.routes) if record in route.targets]


class _Outbox:
    """Incomplete batches, by route and record type."""

    def __init__(
        self, routes: Sequence[SendRoute], batch: int, clock: Clock, summary: Summary
    ) -> None:
        self.summary = summary
        self._routes, self._batch, self._clock = routes, batch, clock
        self._waiting: dict[tuple[int, str], list[ProducerRecord]] = {}
        self._flushed = clock.monotonic()

    def put(self, turn: int, record: str, produced: ProducerRecord) -> None:
        held = self._waiting.setdefault((turn, record), [])
        held.append(produced)
        if len(held) >= self._batch:
            self._send(turn, record)

    def expire(self) -> None:
        """Send the incomplete batches if LINGER_S has passed since the last flush."""
        if self._clock.monotonic() - self._flushed >= LINGER_S:
            self.flush()

    def flush(self) -> None:
        for turn, record in list(self._waiting):
            self._send(turn, record)
        self._flushed = self._clock.monotonic()

    def _send(self, turn: int, record: str) -> None:
        route, records = self._routes[turn], self._waiting.pop((turn, record))
        target = route.targets[record]
        try:
            reports = route.send(target, records)
        except FatalError as error:
            lost = DeliveryReport(DeliveryStatus.UNKNOWN, error=error.message, hint=error.hint)
            self.summary.note(target, [lost] * len(records))
            raise
        self.summary.note(target, reports)
        if all(report.status is DeliveryStatus.REJECTED for report in reports):
            raise FatalError(
                f"{target} took none of {len(records)} records: {reports[0].error}",
                reports[0].hint or hints.CONFIGURATION,
            )

    def abandon(self) -> None:
        """Count the records of incomplete batches as not stored, after an error."""
        for turn, record in list(self._waiting):
            unsent = self._waiting.pop((turn, record))
            self.summary.note(self._routes[turn].targets[record], [_NOT_SENT] * len(unsent))


class _Pacer:
    """Spaces events evenly; after a delay it catches up on at most MAX_BURST_S."""

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._clock = clock
        self._due = clock.monotonic()

    def wait(self, idle: Callable[[], None], stopping: Callable[[], bool]) -> None:
        """Wait until the next event is due or `stopping`; call `idle` before each sleep."""
        if not self._interval:
            return
        self._due = max(self._due, self._clock.monotonic() - MAX_BURST_S)
        while not stopping() and (left := self._due - self._clock.monotonic()) > 0:
            idle()
            self._clock.sleep(min(left, LINGER_S))
        self._due += self._interval
