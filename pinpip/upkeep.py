"""Upkeep beside a consumer (`maintain.every`): each turn is a separate process.

So a turn takes no memory, lock or interpreter from the consumer, and a fault of it, however hard,
is only counted. A turn ends with the consumer, also at kill -9: its standard input is a pipe whose
other end only the consumer has. What it leaves undone, the next turn of any member does.
"""

import json
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog

from core import interpreter
from core.clock import Clock
from core.config import Config
from pinpip.journals import named
from pinpip.observed import States

MODULE = "pinpip.cli.upkeep_turn"
TOLD = 3  # exit code of a turn that has logged why it failed; 1 is that of a traceback
LEAVE_S = 4.0  # for a turn under way at the end of the consumer
_ONE_THREAD = {"POLARS_MAX_THREADS": "1"}  # the others are the consumer's
_log = structlog.get_logger()


@contextmanager
def maintaining(config: Config, states: States, clock: Clock) -> Iterator[None]:
    """Maintain the tables of those pipelines that ask for it, while the block runs."""
    every = {name: own.total_seconds() for name in states if (own := config.maintained(name).every)}
    turns = _Turns(config.file.path, states, every, clock)
    # A call on a store that hangs holds nobody up.
    thread = threading.Thread(target=turns.run, daemon=True, name="upkeep")
    if every:
        thread.start()
    try:
        yield
    finally:
        turns.stop()
        if every:
            thread.join(LEAVE_S)


class _Turns:
    """The turns of a process, one after the other."""

    def __init__(
        self, path: Path | None, states: States, every: dict[str, float], clock: Clock
    ) -> None:
        self._path, self._states, self._every, self._clock = path, states, every, clock
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Take turns until the process stops; members of a group are not in step."""
        now = self._clock.monotonic()
        due = {name: now + s * random.uniform(0.5, 1.0) for name, s in self._every.items()}
        while True:
            name = min(due, key=lambda own: due[own])
            began = max(due[name], self._clock.monotonic())
            if self._stopping.wait(began - self._clock.monotonic()):
                return
            named(name, partial(self._turn, name))
            ended = self._clock.monotonic()
            # However long turns take, they take half of the time at most.
            due[name] = ended + max(self._every[name] * random.uniform(0.8, 1.2), ended - began)

    def stop(self) -> None:
        """Start no more turns, and ask the one under way to end."""
        self._stopping.set()
        with self._lock:
            if self._child is not None and self._child.stdin is not None:
                self._child.stdin.close()

    def _turn(self, name: str) -> None:
        """Take one turn, and count what it did."""
        try:
            child = self._started(name)
            if child is None:
                return
            with child:
                for line in child.stdout or ():
                    done = json.loads(line)
                    self._states[name].totals.upkept(done["merged"], done["removed"])
        except (OSError, ValueError, LookupError) as error:
            self._fail(name, str(error), "")
        else:
            self._end(name, child.returncode)

    def _started(self, name: str) -> "subprocess.Popen[bytes] | None":
        command = [*interpreter.command(), "-m", MODULE, str(self._path), name]
        with self._lock:
            if self._stopping.is_set():
                return None
            self._child = subprocess.Popen(  # noqa: S603  # our own command
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches the consumer alone, which ends it
                env=os.environ | _ONE_THREAD,
            )
            return self._child

    def _end(self, name: str, code: int) -> None:
        if self._stopping.is_set():
            return
        if code in {0, TOLD}:
            self._states[name].totals.upkeep_turns["failed" if code else "done"] += 1
            return
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        hint = "SIGKILL: it may want more memory than there is; lower maintain.memory"
        self._fail(name, f"its process ended with {how}", hint if code == -signal.SIGKILL else "")

    def _fail(self, name: str, error: str, hint: str) -> None:
        self._states[name].totals.upkeep_turns["failed"] += 1
        _log.warning("not_maintained", error=error, next=hint)
