"""One turn of the upkeep beside a consumer: `python -m pinpip.cli.upkeep_turn CONFIG PIPELINE`.

It prints what it did to each table as a line of JSON, and ends when its standard input does: then
the consumer that started it is gone. See `pinpip.upkeep`.
"""

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import structlog
from structlog.contextvars import bound_contextvars

from core.errors import PinpipError
from core.network import spare_loopback
from pinpip.cli.shared import Settings
from pinpip.upkeep import TOLD

_NICE = 10  # the consumers' commits go first
_GRACE_S = 2.0  # to give the place of the maintainer up, once the consumer is gone
_log = structlog.get_logger()


def main() -> int:
    """Take the turn; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # systemd sends it to all processes
    threading.Thread(target=_end_with_consumer, daemon=True).start()
    _yield_to_others()
    spare_loopback()
    path, name = sys.argv[1:]
    with suppress(KeyboardInterrupt), bound_contextvars(pipeline=name):
        try:
            _maintain(Path(path), name)
        except PinpipError as error:
            _log.warning("not_maintained", error=error.message, next=error.hint)
            return TOLD
    return 0


def _maintain(path: Path, name: str) -> None:
    from core.clock import SystemClock
    from pinpip.cli.maintain import log_done
    from pinpip.maintain import maintain

    config = Settings(path, debug=False).config(daemon=True)
    for done in maintain(config, name, SystemClock()):
        log_done(done)
        sys.stdout.write(f"{json.dumps({'merged': done.merged, 'removed': done.removed})}\n")
        sys.stdout.flush()


def _end_with_consumer() -> None:
    """Interrupt the main thread when the pipe ends; end the process if that has no effect."""
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):
            pass
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    threading.Event().wait(_GRACE_S)
    os._exit(0)


def _yield_to_others() -> None:
    """Let the consumer have the processor, and let the kernel, short of memory, end this first."""
    os.nice(_NICE)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
