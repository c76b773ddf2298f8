"""A process that pinpip starts and ends: none is left behind when a signal comes."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from core import interpreter
from core.config import LOG_FORMAT

Process = subprocess.Popen[bytes]
Held = Callable[[], AbstractContextManager[None]]  # makes a block that no signal interrupts


@contextmanager
def pinpip(
    config: Path,
    arguments: Sequence[str],
    held: Held,
    stop_timeout: float,
    *,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes] | None = None,
) -> Iterator[Process]:
    """Run `pinpip …` with the configuration `config` until the block ends; SIGTERM ends it.

    `stop_timeout`: seconds until it must have ended. In a session of its own: Ctrl-C reaches only
    this process, which ends the others in order. It logs for people, unless the environment says
    otherwise.
    """
    command = [*interpreter.command(), "-m", "pinpip", "--config", str(config), *arguments]
    process = None
    try:
        with held():
            process = subprocess.Popen(  # noqa: S603  # our own command
                command,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                env={LOG_FORMAT: "text", **os.environ},
            )
        yield process
    finally:
        if process is not None:
            process.terminate()
            process.wait(stop_timeout)
