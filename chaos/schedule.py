"""What goes wrong when: a pure function of a seed, so that a round can be run again."""

import random
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Literal

from chaos.failpoints import Leap, Point

QUIET = 3.0  # seconds at the start in which nothing is done to the consumers from outside
_HOUR = 3600.0


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
    OUTAGE = "storage outage"
    FULL_DISK = "full disk"


@dataclass(frozen=True)
class Setting:
    """How long a round is, and which faults it can have.

    `session`: seconds after which the group gives a silent member up.
    """

    seconds: float
    session: float
    broker: bool
    storage: bool
    disk: bool


@dataclass(frozen=True)
class ScheduledFault:
    """At `at` seconds `kind` happens, to member `victim` (modulo those there are) if to one.

    `seconds`: how long it lasts. `status`: what a storage outage answers.
    """

    at: float
    kind: FaultKind
    victim: int = 0
    seconds: float = 0.0
    status: int = 0


@dataclass(frozen=True)
class Arm:
    """What the next consumer process is armed with; a stopped one sleeps `seconds`."""

    point: Point | None = None
    passages: int = 1
    signal: Literal["KILL", "STOP", "TERM"] = "KILL"
    seconds: float = 0.0
    leaps: tuple[Leap, ...] = ()


# The window between the rows and the acknowledgement comes up most often.
_POINTS = {
    Point.CLEAN_FILE: 4,
    Point.AFTER_CLEAN: 4,
    Point.AFTER_QUARANTINE: 3,
    Point.ARCHIVE_OBJECT: 3,
    Point.AFTER_ARCHIVE: 2,
    Point.BEFORE_ACKNOWLEDGE: 3,
    Point.AFTER_ACKNOWLEDGE: 2,
    Point.BEFORE_WRITE: 1,
    Point.QUARANTINE_FILE: 1,
    Point.ASSIGNED: 1,
    Point.REVOKED: 1,
}
_ARMED = 0.6
_MOST_PASSAGES = 4
_STATUSES = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True)
class Schedule:
    """The faults of one round, in their order, and what each process is armed with."""

    seed: int
    setting: Setting
    faults: tuple[ScheduledFault, ...]

    def arm(self, number: int) -> Arm:
        """Return the faults that the round's process `number` injects into itself."""
        rng = random.Random(f"{self.seed} process {number}")
        leaps = _leaps(rng)
        if rng.random() >= _ARMED:
            return Arm(leaps=leaps)
        [point] = rng.choices(list(_POINTS), list(_POINTS.values()))
        once = point in {Point.ASSIGNED, Point.REVOKED}
        signals: tuple[Literal["KILL", "STOP", "TERM"], ...] = ("KILL", "STOP", "TERM")
        [signal] = rng.choices(signals, (8, 1, 1))
        return Arm(
            point=point,
            passages=1 if once else rng.randint(1, _MOST_PASSAGES),
            signal=signal,
            seconds=_beyond(self.setting.session, rng),
            leaps=leaps,
        )


def draw(seed: int, setting: Setting) -> Schedule:
    """Draw the schedule of `seed`: the same seed and setting give the same schedule."""
    rng = random.Random(f"{seed} schedule")
    faults = [_fault(kind, setting, rng) for kind in _kinds(setting, rng)]
    return Schedule(seed, setting, tuple(sorted(faults, key=lambda fault: fault.at)))


def _kinds(setting: Setting, rng: random.Random) -> list[FaultKind]:
    """How often what happens in a round of this length."""
    often = max(1, round(setting.seconds / 4))
    seldom = max(1, round(setting.seconds / 30))
    kinds = often * [FaultKind.KILL]
    kinds += seldom * [
        FaultKind.TERM,
        FaultKind.ZOMBIE,
        FaultKind.REPLACED,
        FaultKind.JOIN,
        FaultKind.LEAVE,
    ]
    if setting.broker:
        kinds += seldom * [rng.choice([FaultKind.BROKER_RESTART, FaultKind.BROKER_KILL])]
    if setting.storage:
        kinds += seldom * [FaultKind.OUTAGE]
    if setting.disk:
        kinds += seldom * [FaultKind.FULL_DISK]
    return kinds


def _fault(kind: FaultKind, setting: Setting, rng: random.Random) -> ScheduledFault:
    return ScheduledFault(
        at=round(rng.uniform(min(QUIET, setting.seconds / 2), setting.seconds), 2),
        kind=kind,
        victim=rng.randrange(100),
        seconds=_length(kind, setting, rng),
        status=rng.choice(_STATUSES) if kind is FaultKind.OUTAGE else 0,
    )


def _length(kind: FaultKind, setting: Setting, rng: random.Random) -> float:
    if kind in {FaultKind.ZOMBIE, FaultKind.REPLACED}:
        return _beyond(setting.session, rng)
    if kind in {FaultKind.OUTAGE, FaultKind.FULL_DISK}:
        return round(rng.uniform(1, 4), 2)
    return 0.0


def _beyond(session: float, rng: random.Random) -> float:
    """Longer than the group waits for a silent member."""
    return round(session * rng.uniform(1.3, 2.0), 2)


def _leaps(rng: random.Random) -> tuple[Leap, ...]:
    """One process in three has a clock that is set wrong and sleeps through a minute."""
    if rng.random() >= 1 / 3:
        return ()
    wall = rng.choice([-24, -2, 2, 24]) * _HOUR
    return (Leap(after=round(rng.uniform(1, 10), 2), wall=wall, monotonic=rng.choice([0.0, 45.0])),)
