"""SIGHUP and Ctrl-C: what a closed terminal and an impatient user mean."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from pinpip.child import Held

STOPS = (signal.SIGTERM, signal.SIGINT)
INTERRUPTED = 130  # as shells report a process that SIGINT ended
_SHOW_CURSOR = b"\x1b[?25h"  # a progress bar has hidden it


@contextmanager
def minding_hangup() -> Iterator[None]:
    """Treat SIGHUP as SIGTERM when a terminal was closed, and ignore it in a daemon.

    Tools that rotate logs send it to daemons, and nothing here has to be opened again. What nohup
    has set stays.
    """
    before = signal.getsignal(signal.SIGHUP)
    if before != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _hung_up if _has_terminal() else _ignored)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _has_terminal() -> bool:
    return any(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _hung_up(_number: int, _frame: object) -> None:
    signal.raise_signal(signal.SIGTERM)


def _ignored(_number: int, _frame: object) -> None:
    """Do nothing here; unlike SIG_IGN, this is not inherited by processes that a command starts."""


@contextmanager
def handling(handle: Callable[[int, object], None]) -> Iterator[None]:
    """Handle SIGTERM and SIGINT while the block runs; SIGHUP as `minding_hangup`."""
    before = [signal.signal(number, handle) for number in STOPS]
    try:
        with minding_hangup():
            yield
    finally:
        for number, handler in zip(STOPS, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def interrupted_once() -> Iterator[Held]:
    """Raise KeyboardInterrupt at the first signal to stop, and ignore those that follow.

    For a block that starts processes, none of which must be left behind; yields what makes a block
    that no signal interrupts.
    """
    interrupt = _Interrupt()
    with handling(interrupt.handle):
        yield interrupt.held


class _Interrupt:
    """What `interrupted_once` knows of the signals that came."""

    def __init__(self) -> None:
        self._held = False
        self._seen = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raise only at the end of the block: what it makes is known to its owner by then."""
        seen, self._held = self._seen, True
        try:
            yield
        finally:
            self._held = False
        if self._seen and not seen:
            raise KeyboardInterrupt

    def handle(self, _number: int, _frame: object) -> None:
        """Raise, or take note for the end of the held block."""
        again, self._seen = self._seen, True
        if not (again or self._held):
            raise KeyboardInterrupt


class _Leave:
    """The handler of SIGINT while `_watch` ends the process, which calls `tidy` first."""

    def __init__(self, tidy: Callable[[], None]) -> None:
        self.tidy = tidy

    def __call__(self, _number: int, _frame: object) -> None:
        pass


def leave_on_interrupt() -> None:
    """End this process at Ctrl-C: at once, without a traceback, whatever the main thread waits for.

    Python's own handler raises in the midst of imports, and only between two steps of the main
    thread. A command that has to tidy up brings a handler of its own, which counts instead, or uses
    `tidying`.
    """
    seen, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(seen,), name="interrupt", daemon=True).start()
    signal.signal(signal.SIGINT, _Leave(lambda: None))


@contextmanager
def tidying(tidy: Callable[[], None]) -> Iterator[None]:
    """Call `tidy`, from another thread, before Ctrl-C ends the process within the block."""
    before = signal.getsignal(signal.SIGINT)
    if isinstance(before, _Leave):
        signal.signal(signal.SIGINT, _Leave(tidy))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _watch(seen: int) -> None:
    while data := os.read(seen, 1):
        handler = signal.getsignal(signal.SIGINT)
        if data[0] == signal.SIGINT and isinstance(handler, _Leave):
            handler.tidy()
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), _SHOW_CURSOR)
            os._exit(INTERRUPTED)


def end(code: str | int | None) -> NoReturn:
    """End the process with this exit code, also beside daemon threads.

    Such a thread looks at a table or a broker. Python would take its interpreter away while it is
    inside a library, which may crash the process at its end.
    """
    others = [one for one in threading.enumerate() if one is not threading.current_thread()]
    if not any(one.daemon for one in others):
        sys.exit(code)
    atexit._run_exitfuncs()  # noqa: SLF001  # what Python would do, too
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(bool(code)))
