"""A round in motion: the producers, the consumers and the schedule's faults, until all is read."""

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Lock

from chaos.fleet import ConsumerProcess, Fleet
from chaos.producer import SentRecords, Steady, Transactional
from chaos.schedule import FaultKind, Schedule, ScheduledFault
from chaos.stage import Progress, Stage
from core.clock import Clock
from core.errors import FatalError, SourceError, TransientError

PATIENCE = 120.0  # seconds in which nothing new reaches the tables
STANDSTILL = 240.0  # seconds in which the round gets no further: a busy machine needs some
_EXCUSED = 20.0  # seconds for which an outage still explains an error after its end
_SETTLED = 1.0
_TICK = 0.05
_LOOK = 0.5
_FEWEST, _MOST = 2, 4
_ENDING = {signal.SIGTERM, signal.SIGKILL}


@dataclass
class Live:
    """A round for people to watch; `behind` once the producers are done."""

    produced: int
    behind: int | None
    counts: Counter[str]


Watch = Callable[[Live], None]


@dataclass
class _Outages:
    """When something that the consumers need was away, and for a while after."""

    clock: Clock
    times: list[list[float]] = field(default_factory=list)

    @contextmanager
    def one(self) -> Iterator[None]:
        span = [self.clock.monotonic(), float("inf")]
        self.times.append(span)
        try:
            yield
        finally:
            span[1] = self.clock.monotonic() + _EXCUSED

    def explain(self, since: float, until: float) -> bool:
        return any(began <= until and since <= ended for began, ended in self.times)


class Play:
    """One round's parts; `disturb`, then `catch_up`, then `close` whatever happened."""

    def __init__(self, schedule: Schedule, stage: Stage, watch: Watch) -> None:
        self._schedule, self._stage, self._watch = schedule, stage, watch
        self._clock = stage.clock
        self._outages = _Outages(stage.clock)
        self._threads = ThreadPoolExecutor(4, "fault")
        self._running: list[Future[None]] = []
        self._at_broker = Lock()
        self._joiner = count()
        self._behind: int | None = None
        self.fleet = Fleet(stage.home, schedule, stage.clock, self._outages.explain)
        given = (stage.kafka, stage.topic, stage.content)
        seconds = schedule.setting.seconds
        self._steady = Steady(*given, stage.rate, seconds, stage.clock)
        self._transactional = Transactional(*given) if stage.transactions else None

    def disturb(self) -> tuple[SentRecords, int]:
        """Produce while the schedule lasts; what was sent, and how many records were aborted.

        The schedule begins when every consumer has been given partitions. On a slow machine it
        waits for a consumer at work to strike at: one that starts up has nothing to lose.
        """
        self._start()
        began = self._clock.monotonic()
        for fault in self._schedule.faults:
            self._wait(began + fault.at)
            self._until(self._targets, "no consumer is at work")
            self._happen(fault)
        self._wait(began + self._schedule.setting.seconds)
        self._calm()
        return self._sent()

    def catch_up(self, wanted: int) -> None:
        """Return when every sink is at the topic's end and the tables have `wanted` rows.

        Raises FatalError when they get no nearer to that.
        """
        best, changed = None, self._clock.monotonic()
        while True:
            now, found = self._clock.monotonic(), self._progress()
            self._behind = found.behind
            state = (-found.behind, found.rows)
            if best is None or state > best:
                best, changed = state, now
            done = found.behind <= 0 and found.rows >= wanted
            if done and now - changed > _SETTLED:
                return
            if now - changed > PATIENCE:
                raise self._stuck(found, wanted)
            self._wait(now + _LOOK)

    def _progress(self) -> Progress:
        """Measure the progress; a broker that has just restarted may not respond at once."""
        try:
            return self._stage.progress()
        except (SourceError, TransientError):
            return Progress(sys.maxsize, 0)

    def close(self) -> None:
        """Leave nothing running."""
        self.fleet.close()
        self._steady.close()
        if self._transactional:
            self._transactional.close()
        self._threads.shutdown()

    def _start(self) -> None:
        if self._stage.storage:
            self._stage.storage.rate(self._stage.fault_rate)
        for number in range(self._stage.consumers):
            self.fleet.start(f"c{number}", static=number % 2 == 0)
        self._until(self._complete, "not every consumer was given partitions")
        self._steady.start()
        if self._transactional:
            self._transactional.start()

    def _turn(self) -> None:
        self.fleet.tick()
        self._watch(Live(self._steady.produced, self._behind, self.fleet.counts))
        self._clock.sleep(_TICK)

    def _wait(self, until: float) -> None:
        while self._clock.monotonic() < until:
            self._turn()

    def _until(self, condition: Callable[[], object], otherwise: str) -> None:
        deadline = self._clock.monotonic() + STANDSTILL
        while not condition():
            if self._clock.monotonic() > deadline:
                folder = self._stage.home.folder
                raise FatalError(f"{otherwise}, for {STANDSTILL:g} s", f"see the logs in {folder}")
            self._turn()

    def _complete(self) -> bool:
        return len(self.fleet.ready) >= self._stage.consumers

    def _calm(self) -> None:
        """No more faults: what was begun is brought to its end."""
        self.fleet.calm()
        if self._stage.storage:
            self._stage.storage.rate(0.0)
        for running in self._running:
            self._until(running.done, "an outage does not end")
            running.result()

    def _sent(self) -> tuple[SentRecords, int]:
        sent = self._steady.finish()
        if self._transactional is None:
            return sent, 0
        also = self._transactional.finish()
        every = SentRecords(sent.acknowledged | also.acknowledged, sent.unknown | also.unknown)
        return every, self._transactional.aborted

    def _stuck(self, found: Progress, wanted: int) -> FatalError:
        return FatalError(
            f"for {PATIENCE:g} s nothing new reached the tables: {found.behind:,} offsets are "
            f"unread, and there are {found.rows:,} rows of {wanted:,}",
            f"the consumers' logs are in {self._stage.home.folder}",
        )

    def _happen(self, fault: ScheduledFault) -> None:
        match fault.kind:
            case FaultKind.BROKER_RESTART | FaultKind.BROKER_KILL:
                self._begin(self._break_broker, fault)
            case FaultKind.OUTAGE:
                self._begin(self._break_storage, fault)
            case FaultKind.FULL_DISK:
                self._begin(self._fill_disk, fault)
            case FaultKind.JOIN:
                self._join()
            case _:
                self._strike(fault)

    def _begin(self, breaking: Callable[[ScheduledFault], None], fault: ScheduledFault) -> None:
        self._running.append(self._threads.submit(breaking, fault))

    def _join(self) -> None:
        if len(self._staying()) < _MOST:
            self.fleet.start(f"j{next(self._joiner)}", static=False)
            self.fleet.counts["joins"] += 1

    def _staying(self) -> list[ConsumerProcess]:
        return [member for member in self.fleet.members if member.stays]

    def _targets(self) -> list[ConsumerProcess]:
        """Those at work, and not on their way out already."""
        ready = [member for member in self.fleet.ready if not member.own & _ENDING]
        return [member for member in ready if member.stays and not member.frozen]

    def _strike(self, fault: ScheduledFault) -> None:
        targets = self._targets()
        static = [member for member in targets if member.static]
        if fault.kind is FaultKind.KILL:
            self.fleet.kill(_pick(targets, fault))
        elif fault.kind is FaultKind.TERM:
            self.fleet.term(_pick(targets, fault))
        elif fault.kind is FaultKind.REPLACED and static:
            self.fleet.replace(_pick(static, fault), fault.seconds)
        elif fault.kind in {FaultKind.ZOMBIE, FaultKind.REPLACED}:
            self.fleet.freeze(_pick(targets, fault), fault.seconds)
        elif fault.kind is FaultKind.LEAVE and len(self._staying()) > _FEWEST:
            self.fleet.term(_pick(targets, fault), stays=False)
            self.fleet.counts["leaves"] += 1

    def _break_broker(self, fault: ScheduledFault) -> None:
        broker = self._stage.broker
        if broker is None:
            return
        with self._at_broker, self._outages.one():
            if fault.kind is FaultKind.BROKER_KILL:
                broker.kill()
            else:
                broker.stop()
            broker.start()
            self.fleet.counts[f"{fault.kind}s"] += 1

    def _break_storage(self, fault: ScheduledFault) -> None:
        storage = self._stage.storage
        if storage is None:
            return
        with self._outages.one():
            storage.outage(fault.status)
            self._clock.sleep(fault.seconds)
            storage.outage(0)
            self.fleet.counts["storage outages"] += 1

    def _fill_disk(self, fault: ScheduledFault) -> None:
        disk = self._stage.disk
        if disk is None:
            return
        with self._outages.one():
            disk.fill()
            self._clock.sleep(fault.seconds)
            disk.free()
            self.fleet.counts["full disks"] += 1


def _pick(members: list[ConsumerProcess], fault: ScheduledFault) -> ConsumerProcess:
    return members[fault.victim % len(members)]
