"""The log of a process: one line an event, on standard error, for people or for programs."""

import logging
import os
import sys
import threading
from collections.abc import Collection, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any, TextIO

import msgspec
import structlog
from pydantic import ValidationError
from structlog.contextvars import get_contextvars

from core.clock import Clock, SystemClock
from core.config import LOG_FORMAT, LOG_LEVEL, Log
from core.errors import PinpipError
from core.kafka import LOGGER
from pinpip.logs.foreign import Forward, raised
from pinpip.logs.render import Form, Hider, as_json, as_text, cleaned

ACCESS = "gateway.access"  # the name of the logger whose lines go to standard output
LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error")}
_log = structlog.get_logger()


def first_settings(environment: Mapping[str, str] = os.environ) -> Log:
    """Return the section `log` as the environment has it, until the configuration is read."""
    names = [("level", LOG_LEVEL), ("format", LOG_FORMAT)]
    given = {key: environment[name] for key, name in names if environment.get(name)}
    try:
        return Log.model_validate(given)
    except ValidationError:
        return Log()  # it is refused with the configuration


def configure(
    settings: Log,
    *,
    daemon: bool = False,
    debug: bool = False,
    access: bool | None = None,
    secrets: Collection[str] = (),
) -> None:
    """Set the log of this process up; the last call counts.

    Only a `daemon` logs that all is well, and tells the error that ends it as a line of the log.
    `access`: whether requests to the gateway are logged, None without a gateway. `secrets`: texts
    that no line may hold.
    """
    level = LEVELS[settings.level] if daemon else max(LEVELS[settings.level], logging.WARNING)
    level = logging.DEBUG if debug else level
    lines = Lines(
        form_of(settings, sys.stderr), level, SystemClock(), Hider(secrets), daemon, bool(access)
    )
    structlog.configure(
        processors=[lines.render],
        wrapper_class=structlog.make_filtering_bound_logger(
            min(level, logging.INFO) if access else level
        ),
        logger_factory=lines,
        cache_logger_on_first_use=access is not None,
    )
    _forward(logging.DEBUG if level == logging.DEBUG else logging.WARNING)


def form_of(settings: Log, stream: TextIO) -> Form:
    """Return how lines look on `stream`."""
    on_terminal = stream.isatty()
    if settings.format == "json" or (settings.format == "auto" and not on_terminal):
        return "json"
    return "terminal" if on_terminal else "text"


def shows_colours(environment: Mapping[str, str]) -> bool:
    """Return whether a terminal is to show colours (no-color.org)."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def tells_failures() -> bool:
    """Return whether the error that ends this process is to be a line of the log, for programs."""
    lines = structlog.get_config()["logger_factory"]
    return isinstance(lines, Lines) and lines.daemon and lines.form == "json"


def failed(error: PinpipError) -> None:
    """Log the error that ends the process."""
    _log.error("failed", error=error.message, **({"next": error.hint} if error.hint else {}))


def _forward(level: int) -> None:
    """Write what libraries log. Their debug lines may hold keys: librdkafka's alone are taken."""
    root = logging.getLogger()
    if not any(isinstance(handler, Forward) for handler in root.handlers):
        root.addHandler(Forward(SystemClock()))
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(level)
    logging.captureWarnings(capture=True)


@dataclass
class Lines:
    """structlog's factory of loggers, and its one processor; each line is written at once."""

    form: Form
    level: int
    clock: Clock
    hide: Hider
    daemon: bool = False
    access: bool = False
    lock: "threading.RLock" = field(default_factory=threading.RLock)  # a signal may interrupt

    def __call__(self, name: str = "", *_names: str) -> "Stream":
        """Return where lines of the logger `name` go."""
        own = (sys.stdout if name == ACCESS else sys.stderr).buffer
        # What a buffer keeps after a fault would fault again at the end of the process.
        return Stream(getattr(own, "raw", own), self.lock, name == ACCESS)

    def render(self, to: "Stream", method: str, event: MutableMapping[str, Any]) -> bytes:
        """Return the line; raise DropEvent for one below the level."""
        now = self.clock.now()
        if to.access and self.access:
            return msgspec.json.encode({"timestamp": now, "level": method, **event}, enc_hook=str)
        if to.access or LEVELS.get(method, logging.ERROR) < self.level:
            raise structlog.DropEvent
        name, own = event.pop("event"), {**get_contextvars(), **raised(event)}
        fields = {"level": method, "event": name, **cleaned(own, self.hide)}
        if self.form == "json":
            return as_json(fields, now).encode()
        on_terminal = self.form == "terminal"
        colours = on_terminal and shows_colours(os.environ)
        text = as_text(fields, now, terminal=on_terminal, colours=colours)
        return text.encode(sys.stderr.encoding or "utf-8", "backslashreplace")


@dataclass(frozen=True)
class Stream:
    """What structlog calls a logger: where rendered lines go, whole and one at a time."""

    stream: IO[bytes]
    lock: "threading.RLock"
    access: bool

    def msg(self, line: bytes) -> None:
        """Write a line; a closed pipe or a full disk costs the line, never the process."""
        left = memoryview(line + b"\n")
        with self.lock, suppress(OSError, ValueError):
            while left and (written := self.stream.write(left)):
                left = left[written:]

    debug = info = warning = error = critical = msg
