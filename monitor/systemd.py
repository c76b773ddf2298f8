"""Tell systemd how the process is, by sd_notify: ready, alive, what it does, that it stops.

A unit has `Type=notify` and `WatchdogSec=60`. READY=1 is told once the process is ready, or 30 s
after its start: a process whose source is away is well, and a start that takes longer is killed.
WATCHDOG=1 is told twice within `WatchdogSec` as long as the process is live; without it systemd
kills and restarts the process. STATUS= is what `systemctl status` shows.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import structlog

from core.clock import Clock

READY_BY_S = 30.0
EVERY_S = 1.0
_MOST = 500  # characters of a status
_log = structlog.get_logger("monitor")


@dataclass(frozen=True)
class Manager:
    """The service manager that started the process. `watchdog`: seconds; None: it has none."""

    address: str
    watchdog: float | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Manager | None":
        """Return the manager that the environment names; None: there is none."""
        address = environment.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return None
        pid = environment.get("WATCHDOG_PID", str(os.getpid()))
        micros = environment.get("WATCHDOG_USEC", "")
        mine = pid == str(os.getpid()) and micros.isascii() and micros.isdecimal()
        return cls(address, int(micros) / 1e6 if mine and int(micros) else None)

    def tell(self, **state: str) -> None:
        """Send the state, such as READY="1"; a manager that does not listen is ignored."""
        lines = "\n".join(f"{name}={' '.join(text.split())}" for name, text in state.items())
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.setblocking(False)  # noqa: FBT003  # a positional-only argument
            address = f"\0{self.address[1:]}" if self.address[0] == "@" else self.address
            own.sendto(lines.encode(), address)


@dataclass
class Telling:
    """What `notifying` has told so far."""

    manager: Manager
    live: Callable[[], str | None]
    ready: Callable[[], str | None]
    status: Callable[[], str]
    clock: Clock
    began: float = field(init=False)
    is_ready: bool = False
    said: str = ""
    fed: float | None = None

    def __post_init__(self) -> None:
        self.began = self.clock.monotonic()

    def turn(self) -> None:
        """Tell what is due; a status that fails costs no watchdog."""
        state = self._health()
        if state:
            self.manager.tell(**state)
        if (said := self.status()[:_MOST]) != self.said:
            self.said = said
            self.manager.tell(STATUS=said)

    def _health(self) -> dict[str, str]:
        if self.live() is not None:
            return {}
        now, state = self.clock.monotonic(), dict[str, str]()
        if not self.is_ready and (now - self.began >= READY_BY_S or self.ready() is None):
            self.is_ready, state["READY"] = True, "1"
        if self._is_hungry(now):
            self.fed, state["WATCHDOG"] = now, "1"
        return state

    def _is_hungry(self, now: float) -> bool:
        limit = self.manager.watchdog
        return limit is not None and (self.fed is None or now - self.fed >= limit / 2 - EVERY_S)


@contextmanager
def notifying(
    manager: Manager | None,
    live: Callable[[], str | None],
    ready: Callable[[], str | None],
    status: Callable[[], str],
    clock: Clock,
) -> Iterator[None]:
    """Tell the manager while the block runs, and at its end that the process stops.

    `live` and `ready` return why the process is not; `status` returns one line. All are called from
    a separate thread, once a second.
    """
    if manager is None:
        yield
        return
    telling, ends = Telling(manager, live, ready, status, clock), threading.Event()

    def run() -> None:
        waits = 0.0
        while not ends.wait(waits):
            try:
                telling.turn()
            except Exception:  # noqa: BLE001  # it must go on: without it systemd kills the process
                _log.exception("systemd_not_told")
            waits = EVERY_S

    threading.Thread(target=run, name="systemd", daemon=True).start()
    try:
        yield
    finally:
        ends.set()
        manager.tell(STOPPING="1", STATUS="stopping")
