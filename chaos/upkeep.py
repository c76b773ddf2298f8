"""Run commands that rewrite the tables while their consumers write; some are killed meanwhile."""

import subprocess
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from chaos.fleet import FleetSetup
from chaos.schedule import FaultKind
from core import interpreter
from core.errors import FatalError

COMMANDS = {
    FaultKind.MAINTAIN: ("maintain",),
    FaultKind.REQUEUE: ("quarantine", "requeue"),
    FaultKind.REPLACE: ("replay", "--replace"),
    FaultKind.LATEST: ("latest",),
}
TIMEOUT_S = 300.0  # for a command that nobody kills
_TAIL = 2000  # characters of a log


class Upkeep:
    """The commands of one round, each with a log of its own."""

    def __init__(self, launch: FleetSetup) -> None:
        self._launch = launch
        self._numbers = count()

    def run(self, kind: FaultKind, seconds: float) -> str:
        """Run the command, and kill it (-9) after so many seconds.

        Return how it ended: done, killed, or "gave up", as it may while other faults last.
        """
        ended = self._ended(kind, self._log(kind), seconds)
        return {None: "killed", 0: "done"}.get(ended, "gave up")

    def finish(self, kinds: Iterable[FaultKind]) -> None:
        """Run each command to its end; raises FatalError unless that is good."""
        for kind in kinds:
            log = self._log(kind)
            if self._ended(kind, log, TIMEOUT_S) != 0:
                raise FatalError(
                    f"a {kind} after the faults failed, or took {TIMEOUT_S:g} s",
                    f"its log, {log}, ends:\n{log.read_text('utf-8', 'replace')[-_TAIL:]}",
                )

    def _log(self, kind: FaultKind) -> Path:
        return self._launch.folder / f"upkeep-{next(self._numbers):02d}-{kind.name.lower()}.log"

    def _ended(self, kind: FaultKind, log: Path, seconds: float) -> int | None:
        """Return the exit code of the command; None: it was killed."""
        launch = self._launch
        command = [*interpreter.command(), "-m", "pinpip", "--config", str(launch.config)]
        command += [*COMMANDS[kind], launch.pipeline]
        own = dict(launch.environment)
        with (
            log.open("wb") as out,
            subprocess.Popen(command, stdout=out, stderr=out, env=own) as process,  # noqa: S603  # our own command
        ):
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                return None
            finally:
                process.kill()
