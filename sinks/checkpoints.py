"""Checkpoints of one Delta table, written beside the commits."""

from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from pinpip.borders import Options
from sinks import table

EVERY = 100  # commits at least
_SHARE = 100  # of a table's files: a checkpoint lists them all, so larger tables get fewer
_log = structlog.get_logger()


class Checkpoints:
    """The writer whose commit fills the hundred writes the checkpoint, in a thread of its own.

    Between two of one writer at least as many commits lie as a hundredth of the table's files, so
    that they cost each commit the same at any size, and opening the table stays quick.
    """

    def __init__(self, name: str, uri: str, options: Options) -> None:
        self._uri = uri
        self._options = options
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"checkpoint-{name}")
        self._running: Future[int] | None = None
        self._next = EVERY

    def committed(self, version: int) -> None:
        """Take note that `version` was just committed by this writer."""
        if version % EVERY == 0 and version >= self._next and self._is_idle(version):
            self._next = version
            self._running = self._thread.submit(table.checkpoint, self._uri, self._options)

    def close(self) -> None:
        """Let a running checkpoint finish."""
        self._thread.shutdown()

    def _is_idle(self, version: int) -> bool:
        if self._running is None:
            return True
        if not self._running.done():
            return False
        finished, self._running = self._running, None
        failure = finished.exception()
        if failure is not None:
            _log.warning("checkpoint_failed", table=self._uri, error=str(failure))
            return True
        self._next += finished.result() // _SHARE
        return version >= self._next
