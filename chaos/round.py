"""Run one round: producers, consumers and scheduled faults, until every record is read."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from chaos.environment import Environment, SinkProgress
from chaos.fleet import Fleet
from chaos.gateway_producer import GatewayProducer
from chaos.injection import Injection, Outages
from chaos.producer import SentRecords, SteadyProducer, TransactionalProducer
from chaos.schedule import Schedule
from core.errors import FatalError, SourceError, TransientError

PROGRESS_TIMEOUT_S = 120.0  # without a new row in the tables
STANDSTILL_TIMEOUT_S = 240.0  # for one step of the round; a busy machine needs long
_SETTLE_S = 1.0
_TICK_S = 0.05
_PROGRESS_INTERVAL_S = 0.5


@dataclass
class RoundStatus:
    """A running round; `lag`: unread offsets, known once the producers are done."""

    produced: int
    lag: int | None
    counts: Counter[str]


Watch = Callable[[RoundStatus], None]


class Round:
    """Call `run_faults`, then `catch_up`, and `close` in any case."""

    def __init__(self, schedule: Schedule, environment: Environment, watch: Watch) -> None:
        self._schedule, self._environment, self._watch = schedule, environment, watch
        self._clock = environment.clock
        self._lag: int | None = None
        outages = Outages(environment.clock)
        self.fleet = Fleet(environment.launch, schedule, environment.clock, outages.explain)
        self._injection = Injection(self.fleet, environment, outages)
        target = (environment.kafka, environment.topic, environment.content)
        seconds = schedule.settings.seconds
        self._steady = SteadyProducer(*target, environment.rate, seconds, environment.clock)
        self._transactional = TransactionalProducer(*target) if environment.transactions else None
        send, content = environment.gateway, environment.content
        self._gateway = GatewayProducer(send, content) if send else None
        chosen = (self._steady, self._transactional, self._gateway)
        self._producers = [producer for producer in chosen if producer is not None]

    def run_faults(self) -> tuple[SentRecords, int]:
        """Produce and apply the schedule; return the numbers sent and the count of aborted records.

        The schedule begins when every consumer has partitions. Each fault waits until a consumer
        is working: killing one that still starts up tests nothing.
        """
        self._start()
        began = self._clock.monotonic()
        for fault in self._schedule.faults:
            self._wait(began + fault.at)
            self._until(self._injection.targets, "no consumer is at work")
            self._injection.apply(fault)
        self._wait(began + self._schedule.settings.seconds)
        self._end_faults()
        return self._sent()

    def catch_up(self, wanted: int) -> list[str]:
        """Return when every sink is at the topic's end and the tables have `wanted` rows.

        When rows are missing at the end for PROGRESS_TIMEOUT_S, it returns that as a difference:
        the comparison says which. Raises FatalError when records stay unread for as long.
        """
        best, changed = None, self._clock.monotonic()
        while True:
            now, found = self._clock.monotonic(), self._progress()
            self._lag = found.lag
            state = (-found.lag, found.rows)
            if best is None or state > best:
                best, changed = state, now
            done = found.lag <= 0 and found.rows >= wanted
            if done and now - changed > _SETTLE_S:
                return []
            if now - changed > PROGRESS_TIMEOUT_S:
                error = self._stuck(found, wanted)
                if found.lag > 0:
                    raise error
                return [error.message]
            self._wait(now + _PROGRESS_INTERVAL_S)

    def finish_upkeep(self) -> None:
        """Finish what commands that were killed had begun, beside the consumers."""
        self._injection.finish_upkeep(self._schedule.settings.upkeep)

    def _progress(self) -> SinkProgress:
        """Return the sinks' progress, none while a restarted broker does not respond yet."""
        try:
            return self._environment.progress()
        except (SourceError, TransientError):
            return SinkProgress(sys.maxsize, 0)

    @property
    def by_gateway(self) -> dict[str, int]:
        """How many records the gateway called stored, not stored or unknown, after the faults."""
        return dict(self._gateway.counts) if self._gateway else {}

    def close(self) -> None:
        """Stop every process and thread of the round."""
        self.fleet.close()
        for producer in self._producers:
            producer.close()
        self._injection.close()

    def _start(self) -> None:
        if self._environment.storage:
            self._environment.storage.rate(self._environment.fault_rate)
        for number in range(self._environment.consumers):
            self.fleet.start(f"c{number}", static=number % 2 == 0)
        self._until(self._complete, "not every consumer was given partitions")
        for producer in self._producers:
            producer.start()

    def _tick(self) -> None:
        self.fleet.tick()
        self._injection.collect()
        self._watch(RoundStatus(self._steady.produced, self._lag, self.fleet.counts))
        self._clock.sleep(_TICK_S)

    def _wait(self, until: float) -> None:
        while self._clock.monotonic() < until:
            self._tick()

    def _until(self, condition: Callable[[], object], otherwise: str) -> None:
        deadline = self._clock.monotonic() + STANDSTILL_TIMEOUT_S
        while not condition():
            if self._clock.monotonic() > deadline:
                raise FatalError(
                    f"{otherwise}, for {STANDSTILL_TIMEOUT_S:g} s",
                    f"see the logs in {self._environment.launch.folder}",
                )
            self._tick()

    def _complete(self) -> bool:
        return len(self.fleet.ready) >= self._environment.consumers

    def _end_faults(self) -> None:
        """Disarm consumers and storage, and wait for the faults that still run."""
        self.fleet.disarm()
        if self._environment.storage:
            self._environment.storage.rate(0.0)
        while running := self._injection.running:
            self._until(partial(self._fewer, running), "an outage does not end")

    def _fewer(self, running: int) -> bool:
        return self._injection.running < running

    def _sent(self) -> tuple[SentRecords, int]:
        sent = [producer.finish() for producer in self._producers]
        every = SentRecords(
            frozenset().union(*(own.acknowledged for own in sent)),
            frozenset().union(*(own.unknown for own in sent)),
        )
        return every, self._transactional.aborted if self._transactional else 0

    def _stuck(self, found: SinkProgress, wanted: int) -> FatalError:
        self.fleet.show_stacks()
        return FatalError(
            f"no new row reached the tables for {PROGRESS_TIMEOUT_S:g} s: {found.lag:,} offsets "
            f"are unread, and there are {found.rows:,} rows of {wanted:,}",
            f"the consumers' logs are in {self._environment.launch.folder}",
        )
