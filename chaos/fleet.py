"""Start, kill, freeze, wake and restart the consumer processes of a round.

Each end is counted by its cause. A process may end with an error only while a fault of the
schedule explains it; otherwise the round fails.
"""

import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chaos.failpoints import FailpointPlan
from chaos.schedule import ArmedFailpoint, Schedule
from chaos.signals import STACKS
from core import interpreter
from core.clock import Clock
from core.config import LOG_FORMAT
from core.errors import FatalError

CONSUMER_MODULE = "pinpip.cli.chaos_consumer"
STOP_TIMEOUT_S = 30.0
_LOG_TAIL_LINES = 15
_STACKS_S = 2.0  # until they are written, also on a busy machine
LATE_S = 7.0  # after SIGTERM; a consumer that hangs leaves after nine
_LEFT = re.compile(r"stopped without the answers of|gave up after")  # a consumer's last message
_FENCED = "Static consumer fenced"  # the broker's message


@dataclass(frozen=True)
class FleetSetup:
    """How the processes are started: configuration, pipeline, log folder, environment variables.

    `consumer_environment`: further variables that only the consumers get.
    """

    folder: Path
    config: Path
    pipeline: str
    environment: Mapping[str, str]
    consumer_environment: Mapping[str, str]


@dataclass
class ConsumerProcess:
    """One consumer process.

    `signals`: the signals sent to it. `wakes_at`: when a frozen process is continued. `restarts`:
    whether a successor replaces it when it ends. `stacks_at`: when it is told to write its stacks
    into its log, because it ends late.
    """

    name: str
    static: bool
    process: "subprocess.Popen[bytes]"
    armed: ArmedFailpoint
    started_at: float
    journal: Path
    log: Path
    after_kill: bool = False
    signals: set[signal.Signals] = field(default_factory=set)
    wakes_at: float | None = None
    stacks_at: float | None = None
    frozen: bool = False
    fenced: bool = False
    restarts: bool = True
    ended: bool = False

    def tail(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])


class Fleet:
    """The processes of one consumer group.

    `excused(a, b)`: whether a fault explains an error between the times `a` and `b`.
    """

    def __init__(
        self,
        launch: FleetSetup,
        schedule: Schedule,
        clock: Clock,
        excused: Callable[[float, float], bool],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.gave_up: list[str] = []
        self.all: list[ConsumerProcess] = []
        self._disarmed = launch.folder / "disarmed"
        self._launch = launch
        self._schedule = schedule
        self._clock = clock
        self._excused = excused
        self._last_tick = clock.monotonic()

    @property
    def members(self) -> list[ConsumerProcess]:
        """The processes that run or are frozen."""
        return [member for member in self.all if not member.ended]

    @property
    def ready(self) -> list[ConsumerProcess]:
        """The processes that have been assigned partitions."""
        return [member for member in self.members if member.journal.exists()]

    def disarm(self) -> None:
        """Disarm the failpoints of every consumer."""
        self._disarmed.touch()

    def start(self, name: str, *, static: bool, after_kill: bool = False) -> ConsumerProcess:
        """Start a consumer process; the name of a static one is its group.instance.id."""
        number = len(self.all)
        armed = self._schedule.armed(number)
        stem = self._launch.folder / f"{number:03d}-{name}"
        plan = FailpointPlan(
            journal=stem.with_suffix(".journal"),
            disarmed=self._disarmed,
            point=armed.point,
            passages=armed.passages,
            signal=armed.signal,
            jumps=armed.jumps,
        )
        log, started_at = stem.with_suffix(".log"), self._clock.monotonic()
        process = self._spawn(plan, log, name if static else None)
        member = ConsumerProcess(
            name, static, process, armed, started_at, plan.journal, log, after_kill
        )
        self.all.append(member)
        return member

    def kill(self, member: ConsumerProcess) -> None:
        """Send SIGKILL."""
        self._send(member, signal.SIGKILL)

    def term(self, member: ConsumerProcess, *, restarts: bool = True) -> None:
        """Send SIGTERM; `restarts`: whether a successor replaces the process."""
        member.restarts = restarts
        self._send(member, signal.SIGTERM)
        if member.journal.exists():  # before that the signal may end it
            member.stacks_at = self._clock.monotonic() + LATE_S

    def freeze(self, member: ConsumerProcess, seconds: float) -> None:
        """Send SIGSTOP, and SIGCONT `seconds` later."""
        self._send(member, signal.SIGSTOP)
        self._frozen(member, seconds)

    def replace(self, member: ConsumerProcess, seconds: float) -> None:
        """Freeze a process and start another of its name: when woken it must find itself fenced."""
        self.freeze(member, seconds)
        member.restarts, member.fenced = False, member.static
        self.start(member.name, static=member.static)

    def tick(self) -> None:
        """Notice processes that ended or stopped themselves, and wake those that are due.

        Raises FatalError when a process ended and no fault explains it.
        """
        since, now = self._last_tick, self._clock.monotonic()
        self._last_tick = now
        for member in self.members:
            if member.process.poll() is not None:
                self._record_end(member, since, now)
            elif not member.frozen and _is_stopped(member.process.pid):
                self._frozen(member, member.armed.seconds)
            elif member.wakes_at is not None and now >= member.wakes_at:
                self._wake(member)
            elif member.stacks_at is not None and now >= member.stacks_at:
                member.stacks_at = None
                member.process.send_signal(STACKS)

    def stop(self) -> None:
        """Stop every consumer with SIGTERM; raises FatalError unless each exits with code 0."""
        for member in self.members:
            self.term(member, restarts=False)
        deadline = self._clock.monotonic() + STOP_TIMEOUT_S
        while self.members and self._clock.monotonic() < deadline:
            self.tick()
            self._clock.sleep(0.05)
        for member in self.members:
            member.process.send_signal(signal.SIGABRT)  # faulthandler writes the stack into its log
            member.process.wait()
            raise self._failed(member, f"did not stop within {STOP_TIMEOUT_S:g} s")

    def show_stacks(self) -> None:
        """Make every consumer at work write the stacks of its threads into its log."""
        for member in self.ready:
            member.process.send_signal(STACKS)
        self._clock.sleep(_STACKS_S)

    def close(self) -> None:
        """Kill every process."""
        for member in self.members:
            member.process.kill()
            member.process.wait()

    def _spawn(
        self, plan: FailpointPlan, log: Path, instance: str | None
    ) -> "subprocess.Popen[bytes]":
        launch = self._launch
        command = [
            *interpreter.command(),
            "-m",
            CONSUMER_MODULE,
            str(launch.config),
            launch.pipeline,
        ]
        command += [plan.model_dump_json()]
        static = {"PINPIP_KAFKA__GROUP_INSTANCE_ID": instance} if instance else {}
        environment = {
            LOG_FORMAT: "text",
            **launch.environment,
            **launch.consumer_environment,
            **static,
            "PYTHONFAULTHANDLER": "1",
        }
        with log.open("wb") as out:
            return subprocess.Popen(command, stdout=out, stderr=out, env=environment)  # noqa: S603  # our own command

    def _send(self, member: ConsumerProcess, number: signal.Signals) -> None:
        member.signals.add(number)
        member.process.send_signal(number)

    def _frozen(self, member: ConsumerProcess, seconds: float) -> None:
        member.frozen, member.wakes_at = True, self._clock.monotonic() + seconds

    def _wake(self, member: ConsumerProcess) -> None:
        member.frozen, member.wakes_at = False, None
        member.process.send_signal(signal.SIGCONT)
        self.counts["zombies"] += 1

    def _record_end(self, member: ConsumerProcess, since: float, now: float) -> None:
        member.ended, code = True, member.process.returncode
        cause = self._cause(member, code, since, now)
        if cause is None:
            raise self._failed(member, f"ended with code {code}, which no fault explains")
        self.counts[cause] += 1
        if cause == "gave up":
            self.gave_up.append(member.tail().splitlines()[-1] if member.tail() else "")
        if member.restarts:
            self.start(member.name, static=member.static, after_kill=code == -signal.SIGKILL)

    def _cause(self, member: ConsumerProcess, code: int, since: float, now: float) -> str | None:
        armed = signal.Signals[f"SIG{member.armed.signal}"] if member.armed.point else None
        expected = member.signals | {armed}
        if code == -signal.SIGKILL:
            return "kills" if signal.SIGKILL in expected else None
        # Signals may arrive before their handlers are installed, or when they are gone again.
        if code in {0, -signal.SIGTERM, -STACKS}:
            return "terms" if signal.SIGTERM in expected else None
        if member.fenced or (member.static and _FENCED in member.tail()):
            return "fenced"  # or a late request of its predecessor fenced it
        if code > 0 and signal.SIGTERM in expected and _LEFT.search(member.tail()):
            return "left late"
        return "gave up" if code > 0 and self._excused(since, now) else None

    def _failed(self, member: ConsumerProcess, what: str) -> FatalError:
        return FatalError(
            f"consumer {member.name} {what}", f"its log, {member.log}, ends:\n{member.tail()}"
        )


def _is_stopped(pid: int) -> bool:
    """Return whether a signal stopped the child since the last call; its exit stays unread."""
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG) is not None
    except ChildProcessError:
        return False
