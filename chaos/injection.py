"""Apply the faults of a schedule to consumers, broker, storage and disk."""

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Lock

from confluent_kafka import TopicPartition

from chaos.cluster import Cluster
from chaos.environment import BrokerControl, Disk, Environment
from chaos.fleet import ConsumerProcess, Fleet
from chaos.schedule import CLUSTER, UPKEEP, UPSERT, FaultKind, ScheduledFault
from chaos.storage import Storage
from chaos.topic import PARTITIONS
from chaos.upkeep import Upkeep
from core.clock import Clock

OUTAGE_GRACE_S = 20.0  # an outage still explains a consumer's error for so long after its end
MIN_CONSUMERS, MAX_CONSUMERS = 2, 4
_FATAL_SIGNALS = {signal.SIGTERM, signal.SIGKILL}


@dataclass
class Outages:
    """The intervals in which the broker, the storage or the disk was unavailable."""

    clock: Clock
    intervals: list[list[float]] = field(default_factory=list)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record an outage that lasts as long as the block, plus OUTAGE_GRACE_S."""
        interval = [self.clock.monotonic(), float("inf")]
        self.intervals.append(interval)
        try:
            yield
        finally:
            interval[1] = self.clock.monotonic() + OUTAGE_GRACE_S

    def explain(self, since: float, until: float) -> bool:
        """Return whether an outage overlaps the interval from `since` to `until`."""
        return any(began <= until and since <= ended for began, ended in self.intervals)


class Injection:
    """Applies faults; counts those applied, and those that could not be applied, in `fleet`.

    Faults of brokers, storage and disk run on threads. Call `collect` until `running` is false.
    """

    def __init__(self, fleet: Fleet, environment: Environment, outages: Outages) -> None:
        self._fleet, self._environment, self._outages = fleet, environment, outages
        self._threads = ThreadPoolExecutor(4, "fault")
        self._cluster_thread = ThreadPoolExecutor(1, "cluster fault")
        self._running: dict[Future[None], FaultKind] = {}
        self._upkeep_thread = ThreadPoolExecutor(1, "upkeep")
        self._upkeep = Upkeep(environment.launch)
        self._broker_lock = Lock()
        self._joined = count()
        self._actions: Mapping[FaultKind, Callable[[ScheduledFault], bool]] = {
            FaultKind.KILL: self._kill,
            FaultKind.TERM: self._term,
            FaultKind.ZOMBIE: self._freeze,
            FaultKind.REPLACED: self._replace,
            FaultKind.JOIN: self._join,
            FaultKind.LEAVE: self._leave,
            FaultKind.BROKER_RESTART: self._break_broker,
            FaultKind.BROKER_KILL: self._break_broker,
            **dict.fromkeys(CLUSTER, self._break_cluster),
            FaultKind.OUTAGE: self._break_storage,
            FaultKind.FULL_DISK: self._fill_disk,
            **dict.fromkeys(UPKEEP + UPSERT, self._tend),
        }

    @property
    def running(self) -> int:
        """How many faults that run on a thread have not been collected yet."""
        return len(self._running)

    def apply(self, fault: ScheduledFault) -> None:
        """Apply `fault`, or count it as skipped when it cannot be applied now."""
        if not self._actions[fault.kind](fault):
            self._fleet.counts[f"{fault.kind} skipped"] += 1

    def collect(self) -> None:
        """Count the faults whose threads are done; raise what a thread raised."""
        for future in [future for future in self._running if future.done()]:
            kind = self._running.pop(future)
            future.result()
            self._fleet.counts[f"{kind}s"] += 1

    def targets(self) -> list[ConsumerProcess]:
        """Return the consumers that have partitions and are not frozen or about to end."""
        ready = [member for member in self._fleet.ready if not member.signals & _FATAL_SIGNALS]
        return [member for member in ready if member.restarts and not member.frozen]

    def finish_upkeep(self, kinds: Iterable[FaultKind]) -> None:
        """Run each command that rewrites tables to its end; raises FatalError unless it is good."""
        self._upkeep.finish(kinds)

    def close(self) -> None:
        """Wait for the threads."""
        self._threads.shutdown()
        self._cluster_thread.shutdown(cancel_futures=True)
        self._upkeep_thread.shutdown(cancel_futures=True)

    def _kill(self, fault: ScheduledFault) -> bool:
        self._fleet.kill(_victim(self.targets(), fault))
        return True

    def _term(self, fault: ScheduledFault) -> bool:
        self._fleet.term(_victim(self.targets(), fault))
        return True

    def _freeze(self, fault: ScheduledFault) -> bool:
        self._fleet.freeze(_victim(self.targets(), fault), fault.seconds)
        return True

    def _replace(self, fault: ScheduledFault) -> bool:
        """Replace a static member; without one, freeze a dynamic member instead."""
        static = [member for member in self.targets() if member.static]
        if not static:
            self._freeze(fault)
            return False
        self._fleet.replace(_victim(static, fault), fault.seconds)
        return True

    def _join(self, fault: ScheduledFault) -> bool:
        if len(self._staying()) >= MAX_CONSUMERS:
            return False
        self._fleet.start(f"j{next(self._joined)}", static=False)
        self._fleet.counts[f"{fault.kind}s"] += 1
        return True

    def _leave(self, fault: ScheduledFault) -> bool:
        if len(self._staying()) <= MIN_CONSUMERS:
            return False
        self._fleet.term(_victim(self.targets(), fault), restarts=False)
        self._fleet.counts[f"{fault.kind}s"] += 1
        return True

    def _staying(self) -> list[ConsumerProcess]:
        return [member for member in self._fleet.members if member.restarts]

    def _break_broker(self, fault: ScheduledFault) -> bool:
        broker = self._environment.broker
        return broker is not None and self._begin(fault, lambda: self._restart(broker, fault.kind))

    def _break_cluster(self, fault: ScheduledFault) -> bool:
        cluster = self._environment.cluster
        return cluster is not None and self._begin(
            fault, lambda: self._disturb(cluster, fault), self._cluster_thread
        )

    def _break_storage(self, fault: ScheduledFault) -> bool:
        storage = self._environment.storage
        return storage is not None and self._begin(fault, lambda: self._interrupt(storage, fault))

    def _fill_disk(self, fault: ScheduledFault) -> bool:
        disk = self._environment.disk
        return disk is not None and self._begin(fault, lambda: self._fill(disk, fault.seconds))

    def _tend(self, fault: ScheduledFault) -> bool:
        return self._begin(fault, lambda: self._rewrite(fault), self._upkeep_thread)

    def _begin(
        self, fault: ScheduledFault, action: Callable[[], None], on: Executor | None = None
    ) -> bool:
        self._running[(on or self._threads).submit(action)] = fault.kind
        return True

    def _restart(self, broker: BrokerControl, kind: FaultKind) -> None:
        with self._broker_lock, self._outages.recorded():
            if kind is FaultKind.BROKER_KILL:
                broker.kill()
            else:
                broker.stop()
            broker.start()

    def _disturb(self, cluster: Cluster, fault: ScheduledFault) -> None:
        """Break the cluster at one place; one fault after the other, so that a majority stays."""
        partition = TopicPartition(self._environment.topic, fault.victim % PARTITIONS)
        with self._outages.recorded():
            match fault.kind:
                case FaultKind.LEADER_KILL:
                    cluster.kill_leader(partition)
                case FaultKind.LEADER_FREEZE:
                    cluster.freeze_leader(partition, fault.seconds)
                case FaultKind.CUT:
                    cluster.cut(fault.victim, fault.seconds)
                case _:
                    cluster.roll()

    def _interrupt(self, storage: Storage, fault: ScheduledFault) -> None:
        with self._outages.recorded():
            storage.outage(fault.status)
            self._environment.clock.sleep(fault.seconds)
            storage.outage(0)

    def _rewrite(self, fault: ScheduledFault) -> None:
        ended = self._upkeep.run(fault.kind, fault.seconds)
        self._fleet.counts[f"{fault.kind} {ended}"] += 1

    def _fill(self, disk: Disk, seconds: float) -> None:
        with self._outages.recorded():
            disk.fill()
            self._environment.clock.sleep(seconds)
            disk.free()


def _victim(members: list[ConsumerProcess], fault: ScheduledFault) -> ConsumerProcess:
    return members[fault.victim % len(members)]
