"""Draw the faults of a round from a seed: the same seed and settings give the same schedule."""

import random
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Literal

from chaos.failpoints import ClockJump
from chaos.points import Failpoint

BROKER_SESSION_S = 4.0  # a broker that is silent for so long is fenced by its cluster
QUIET_S = 3.0  # at the start, without a fault from outside the consumers
_HOUR_S = 3600.0


class FaultKind(StrEnum):
    """A fault from outside the consumers."""

    KILL = "kill"
    TERM = "term"
    ZOMBIE = "zombie"
    REPLACED = "replaced zombie"
    JOIN = "join"
    LEAVE = "leave"
    BROKER_RESTART = "broker restart"
    BROKER_KILL = "broker kill"
    LEADER_KILL = "leader kill"
    LEADER_FREEZE = "leader freeze"
    ROLL = "broker roll"
    CUT = "network cut"
    OUTAGE = "storage outage"
    FULL_DISK = "full disk"
    MAINTAIN = "upkeep run"
    REQUEUE = "requeue"
    REPLACE = "in-place replay"
    LATEST = "step of the latest table"


ONE_BROKER = (FaultKind.BROKER_RESTART, FaultKind.BROKER_KILL)
UPKEEP = (FaultKind.MAINTAIN, FaultKind.REQUEUE, FaultKind.REPLACE)  # they rewrite tables
UPSERT = (FaultKind.LATEST,)
CLUSTER = (FaultKind.LEADER_KILL, FaultKind.LEADER_FREEZE, FaultKind.ROLL, FaultKind.CUT)


@dataclass(frozen=True)
class RoundSettings:
    """How long a round lasts, and which faults it can have.

    `session`: the group's session timeout in seconds. `brokers`: how many chaos may break.
    `upsert`: whether the pipeline keeps a table of latest rows.
    """

    seconds: float
    session: float
    brokers: int
    storage: bool
    disk: bool
    upsert: bool = False

    @property
    def upkeep(self) -> tuple[FaultKind, ...]:
        """The commands that are run beside the consumers; some are killed meanwhile."""
        return UPKEEP + (UPSERT if self.upsert else ())


@dataclass(frozen=True)
class ScheduledFault:
    """At `at` seconds `kind` is applied, to member `victim` (modulo their number) if to one.

    `seconds`: how long it lasts. `status`: the HTTP status of a storage outage.
    """

    at: float
    kind: FaultKind
    victim: int = 0
    seconds: float = 0.0
    status: int = 0


@dataclass(frozen=True)
class ArmedFailpoint:
    """What one consumer process does to itself; after SIGSTOP it sleeps `seconds`."""

    point: Failpoint | None = None
    passages: int = 1
    signal: Literal["KILL", "STOP", "TERM"] = "KILL"
    seconds: float = 0.0
    jumps: tuple[ClockJump, ...] = ()


# The interval between the rows and the acknowledgement is drawn most often.
_FAILPOINT_WEIGHTS = {
    Failpoint.CLEAN_FILE: 4,
    Failpoint.HALF_UPLOADED: 3,
    Failpoint.BEFORE_COMMIT: 3,
    Failpoint.CLEAN_ENTRY: 4,
    Failpoint.GROUP_ENTRY: 4,
    Failpoint.AFTER_CLEAN: 4,
    Failpoint.AFTER_QUARANTINE: 3,
    Failpoint.ARCHIVE_OBJECT: 3,
    Failpoint.AFTER_ARCHIVE: 2,
    Failpoint.BEFORE_ACKNOWLEDGE: 3,
    Failpoint.AFTER_ACKNOWLEDGE: 2,
    Failpoint.BEFORE_WRITE: 1,
    Failpoint.QUARANTINE_FILE: 1,
    Failpoint.ASSIGNED: 1,
    Failpoint.REVOKED: 1,
}
_ARMED_SHARE = 0.6
_MAX_PASSAGES = 4
_UNTIL_KILLED = (1.0, 12.0)  # seconds from a command's start; half of them are done by then
_UNTIL_REPLAY_KILLED = (2.0, 40.0)
_STATUSES = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True)
class Schedule:
    """The faults of one round in order, and the failpoint of each process."""

    seed: int
    settings: RoundSettings
    faults: tuple[ScheduledFault, ...]

    def armed(self, number: int) -> ArmedFailpoint:
        """Draw what the round's process number `number` does to itself."""
        rng = random.Random(f"{self.seed} process {number}")
        jumps = _jumps(rng)
        if rng.random() >= _ARMED_SHARE:
            return ArmedFailpoint(jumps=jumps)
        [point] = rng.choices(list(_FAILPOINT_WEIGHTS), list(_FAILPOINT_WEIGHTS.values()))
        once = point in {Failpoint.ASSIGNED, Failpoint.REVOKED}
        signals: tuple[Literal["KILL", "STOP", "TERM"], ...] = ("KILL", "STOP", "TERM")
        [signal] = rng.choices(signals, (8, 1, 1))
        return ArmedFailpoint(
            point=point,
            passages=1 if once else rng.randint(1, _MAX_PASSAGES),
            signal=signal,
            seconds=_beyond(self.settings.session, rng),
            jumps=jumps,
        )


def draw(seed: int, settings: RoundSettings) -> Schedule:
    """Draw the schedule of `seed`."""
    rng = random.Random(f"{seed} schedule")
    faults = [_fault(kind, settings, rng) for kind in _kinds(settings, rng)]
    own = random.Random(f"{seed} upkeep")  # so that a seed keeps the other faults that it had
    seldom = max(1, round(settings.seconds / 30))
    faults += [_fault(kind, settings, own) for kind in settings.upkeep for _ in range(2 * seldom)]
    return Schedule(seed, settings, tuple(sorted(faults, key=lambda fault: fault.at)))


def _kinds(settings: RoundSettings, rng: random.Random) -> list[FaultKind]:
    """List the faults of a round: their number grows with its length."""
    often = max(1, round(settings.seconds / 4))
    seldom = max(1, round(settings.seconds / 30))
    kinds = often * [FaultKind.KILL]
    kinds += seldom * [
        FaultKind.TERM,
        FaultKind.ZOMBIE,
        FaultKind.REPLACED,
        FaultKind.JOIN,
        FaultKind.LEAVE,
    ]
    if settings.brokers == 1:
        kinds += seldom * [rng.choice(ONE_BROKER)]
    elif settings.brokers:  # one at a time, each with the wait for its replicas
        kinds += max(1, round(settings.seconds / 60)) * CLUSTER
    if settings.storage:
        kinds += seldom * [FaultKind.OUTAGE]
    if settings.disk:
        kinds += seldom * [FaultKind.FULL_DISK]
    return kinds


def _fault(kind: FaultKind, settings: RoundSettings, rng: random.Random) -> ScheduledFault:
    return ScheduledFault(
        at=round(rng.uniform(min(QUIET_S, settings.seconds / 2), settings.seconds), 2),
        kind=kind,
        victim=rng.randrange(100),
        seconds=_length(kind, settings, rng),
        status=rng.choice(_STATUSES) if kind is FaultKind.OUTAGE else 0,
    )


def _length(kind: FaultKind, settings: RoundSettings, rng: random.Random) -> float:
    if kind in {FaultKind.ZOMBIE, FaultKind.REPLACED}:
        return _beyond(settings.session, rng)
    if kind in {FaultKind.LEADER_FREEZE, FaultKind.CUT}:
        return _beyond(BROKER_SESSION_S, rng)
    if kind in {FaultKind.OUTAGE, FaultKind.FULL_DISK}:
        return round(rng.uniform(1, 4), 2)
    if kind is FaultKind.REPLACE:
        return round(rng.uniform(*_UNTIL_REPLAY_KILLED), 2)
    if kind in settings.upkeep:
        return round(rng.uniform(*_UNTIL_KILLED), 2)
    return 0.0


def _beyond(session: float, rng: random.Random) -> float:
    """Draw seconds beyond the session timeout."""
    return round(session * rng.uniform(1.3, 2.0), 2)


def _jumps(rng: random.Random) -> tuple[ClockJump, ...]:
    """Draw the clock jumps of a process: one process in three has some."""
    if rng.random() >= 1 / 3:
        return ()
    wall = rng.choice([-24, -2, 2, 24]) * _HOUR_S
    after = round(rng.uniform(1, 10), 2)
    return (ClockJump(after=after, wall=wall, monotonic=rng.choice([0.0, 45.0])),)
