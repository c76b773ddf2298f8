"""Log lines of libraries: Python's logging and librdkafka's lines, as lines of ours."""

import logging
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import structlog

from core.clock import Clock
from core.kafka import LOGGER
from core.repeats import Repeats

# librdkafka's facilities of which error_cb hears as well, and properties of another kind of client
_TOLD_OTHERWISE = {"FAIL", "ERROR", "ALLBROKERSDOWN", "BRKDOWN", "CONFWARN"}
_log = structlog.get_logger()


class Forward(logging.Handler):
    """Writes what Python's `logging` is told, each warning and error at most once a minute."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._repeats = Repeats(clock)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; the text of an exception is left out: it may hold a record."""
        if record.name == LOGGER.name:
            facility, _, said = _said(record).partition(" ")
            level = logging.DEBUG if facility in _TOLD_OTHERWISE else record.levelno
            self._write(level, "kafka_client", (facility,), facility=facility, said=said)
            return
        error = record.exc_info[0] if record.exc_info else None
        more = {"error": error.__name__} if error else {}
        line = (record.name, record.msg)
        self._write(
            record.levelno, "library", line, library=record.name, said=_said(record), **more
        )

    def _write(self, level: int, event: str, line: object, **fields: str) -> None:
        if level < logging.WARNING:
            _log.debug(event, **fields)
            return
        repeats = self._repeats.due(line)
        if repeats is None:
            return
        write = _log.error if level >= logging.ERROR else _log.warning
        write(event, **fields, **({"repeats": repeats} if repeats else {}))


def raised(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with the class and place of an exception; its text may hold a record."""
    fields = dict(event)
    if not fields.pop("exc_info", None):
        return fields
    error = sys.exc_info()[1]
    frames = traceback.extract_tb(error.__traceback__) if error else []
    place = {"where": f"{frames[-1].filename}:{frames[-1].lineno}"} if frames else {}
    return {**fields, "error": type(error).__name__, **place}


def _said(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit the message
        return str(record.msg)
