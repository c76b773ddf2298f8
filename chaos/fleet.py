"""The consumer processes of a round: started, killed, frozen, woken, and started again.

Each death is counted by its cause. A process that ends with an error of its own is excused only
while a fault of the schedule explains it; otherwise the round has failed.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chaos.failpoints import FailpointPlan
from chaos.schedule import Arm, Schedule
from core.clock import Clock
from core.errors import FatalError

CONSUMER = "pinpip.cli.chaos_consumer"  # its entry point
STOPS_WITHIN = 30.0
_TAIL = 15
_FENCED = "Static consumer fenced"  # as the broker says it


@dataclass(frozen=True)
class FleetSetup:
    """Where the processes run: configuration, pipeline, a folder for logs, and the environment.

    `own`: what the consumers have in theirs besides.
    """

    folder: Path
    config: Path
    pipeline: str
    environment: Mapping[str, str]
    own: Mapping[str, str]


@dataclass
class ConsumerProcess:
    """One consumer process. `own`: signals it was sent. `wakes`: when a frozen one goes on."""

    name: str
    static: bool
    process: "subprocess.Popen[bytes]"
    arm: Arm
    born: float
    journal: Path
    log: Path
    after_kill: bool = False
    own: set[signal.Signals] = field(default_factory=set)
    wakes: float | None = None
    frozen: bool = False
    fenced: bool = False
    stays: bool = True
    ended: bool = False

    def tail(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-_TAIL:])


class Fleet:
    """`excused(a, b)`: whether a fault explains an end with an error somewhen between the two."""

    def __init__(
        self,
        home: FleetSetup,
        schedule: Schedule,
        clock: Clock,
        excused: Callable[[float, float], bool],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.gave_up: list[str] = []
        self.all: list[ConsumerProcess] = []
        self._calm = home.folder / "calm"
        self._home = home
        self._schedule = schedule
        self._clock = clock
        self._excused = excused
        self._seen = clock.monotonic()

    @property
    def members(self) -> list[ConsumerProcess]:
        """Those that run or are frozen."""
        return [member for member in self.all if not member.ended]

    @property
    def ready(self) -> list[ConsumerProcess]:
        """Those that have been given partitions."""
        return [member for member in self.members if member.journal.exists()]

    def calm(self) -> None:
        """From now on no consumer does anything to itself."""
        self._calm.touch()

    def start(self, name: str, *, static: bool, after_kill: bool = False) -> ConsumerProcess:
        """Start a consumer process of that name; a static one gives its name to the group."""
        number = len(self.all)
        arm = self._schedule.arm(number)
        stem = self._home.folder / f"{number:03d}-{name}"
        plan = FailpointPlan(
            journal=stem.with_suffix(".journal"),
            calm=self._calm,
            point=arm.point,
            passages=arm.passages,
            signal=arm.signal,
            leaps=arm.leaps,
        )
        log, born = stem.with_suffix(".log"), self._clock.monotonic()
        process = self._spawn(plan, log, name if static else None)
        member = ConsumerProcess(name, static, process, arm, born, plan.journal, log, after_kill)
        self.all.append(member)
        return member

    def kill(self, member: ConsumerProcess) -> None:
        """As a power cut would."""
        self._send(member, signal.SIGKILL)

    def term(self, member: ConsumerProcess, *, stays: bool = True) -> None:
        """As an operator would; one that does not stay is not started again."""
        member.stays = stays
        self._send(member, signal.SIGTERM)

    def freeze(self, member: ConsumerProcess, seconds: float) -> None:
        """Stop it dead, to wake up `seconds` later."""
        self._send(member, signal.SIGSTOP)
        self._frozen(member, seconds)

    def replace(self, member: ConsumerProcess, seconds: float) -> None:
        """Freeze it and give its name to another: it must find out when it wakes up."""
        self.freeze(member, seconds)
        member.stays, member.fenced = False, member.static
        self.start(member.name, static=member.static)

    def tick(self) -> None:
        """See who died, who froze itself and who is to wake up.

        Raises FatalError when a process ended as no fault explains.
        """
        since, now = self._seen, self._clock.monotonic()
        self._seen = now
        for member in self.members:
            if member.process.poll() is not None:
                self._bury(member, since, now)
            elif not member.frozen and _is_stopped(member.process.pid):
                self._frozen(member, member.arm.seconds)
            elif member.wakes is not None and now >= member.wakes:
                self._wake(member)

    def stop(self) -> None:
        """Stop every consumer as an operator would; raises FatalError unless each says 0."""
        for member in self.members:
            self.term(member, stays=False)
        deadline = self._clock.monotonic() + STOPS_WITHIN
        while self.members and self._clock.monotonic() < deadline:
            self.tick()
            self._clock.sleep(0.05)
        for member in self.members:
            member.process.send_signal(signal.SIGABRT)  # its log shows where it stood
            member.process.wait()
            raise self._failed(member, f"did not stop within {STOPS_WITHIN:g} s")

    def close(self) -> None:
        """Leave no process behind."""
        for member in self.members:
            member.process.kill()
            member.process.wait()

    def _spawn(
        self, plan: FailpointPlan, log: Path, instance: str | None
    ) -> "subprocess.Popen[bytes]":
        home = self._home
        command = [sys.executable, "-m", CONSUMER, str(home.config), home.pipeline]
        command += [plan.model_dump_json()]
        static = {"PINPIP_KAFKA__GROUP_INSTANCE_ID": instance} if instance else {}
        environment = {**home.environment, **home.own, **static, "PYTHONFAULTHANDLER": "1"}
        with log.open("wb") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, env=environment)  # noqa: S603  # our own command

    def _send(self, member: ConsumerProcess, number: signal.Signals) -> None:
        member.own.add(number)
        member.process.send_signal(number)

    def _frozen(self, member: ConsumerProcess, seconds: float) -> None:
        member.frozen, member.wakes = True, self._clock.monotonic() + seconds

    def _wake(self, member: ConsumerProcess) -> None:
        member.frozen, member.wakes = False, None
        member.process.send_signal(signal.SIGCONT)
        self.counts["zombies"] += 1

    def _bury(self, member: ConsumerProcess, since: float, now: float) -> None:
        member.ended, code = True, member.process.returncode
        cause = self._cause(member, code, since, now)
        if cause is None:
            raise self._failed(member, f"ended with code {code}, which no fault explains")
        self.counts[cause] += 1
        if cause == "gave up":
            self.gave_up.append(member.tail().splitlines()[-1] if member.tail() else "")
        if member.stays:
            self.start(member.name, static=member.static, after_kill=code == -signal.SIGKILL)

    def _cause(self, member: ConsumerProcess, code: int, since: float, now: float) -> str | None:
        armed = signal.Signals[f"SIG{member.arm.signal}"] if member.arm.point else None
        expected = member.own | {armed}
        if code == -signal.SIGKILL:
            return "kills" if signal.SIGKILL in expected else None
        if code in {0, -signal.SIGTERM}:  # it may die of it before it can handle it
            return "terms" if signal.SIGTERM in expected else None
        if member.fenced or (member.static and _FENCED in member.tail()):
            return "fenced"  # or a late request of the process before it was served after its own
        return "gave up" if code > 0 and self._excused(since, now) else None

    def _failed(self, member: ConsumerProcess, what: str) -> FatalError:
        return FatalError(
            f"consumer {member.name} {what}", f"its log, {member.log}, ends:\n{member.tail()}"
        )


def _is_stopped(pid: int) -> bool:
    """Whether a child was stopped by a signal since last asked; leaves its exit to be read."""
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG) is not None
    except ChildProcessError:
        return False
