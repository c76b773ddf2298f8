"""Checkpoints of one Delta table, written beside the commits, and the log's clean-up after each.

`python -m sinks.delta.checkpoints` writes one checkpoint. Standard input is JSON, `{"uri": …,
"options": …}`; standard output is `{"retention": seconds or null}`: for how long the table's log
must be kept, null when nothing may be removed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from datetime import timedelta

import structlog

from core import paths
from core.errors import FatalError, PinpipError
from core.protocols import Options
from core.threads import ContextPool
from sinks.delta import cleanup, listing, log, mirror, settled, table
from sinks.storage.protocol import Store

CLOSE_TIMEOUT_S = 5.0  # for one under way when the sink is closed; a later commit writes another
_NICE = 5  # the commits go first
_log = structlog.get_logger()


class CheckpointWriter:
    """Writes checkpoints in separate processes, so that their memory is freed with them."""

    def __init__(self, name: str, uri: str, options: Options, store: Store) -> None:
        self._uri = uri
        self._options = options
        self._store = store
        self._thread = ContextPool(1, thread_name_prefix=f"checkpoint-{name}")
        self._running: Future[None] | None = None
        self._child: subprocess.Popen[str] | None = None
        self._closing = False

    def start(self, recent: Mapping[int, bytes]) -> None:
        """Start to write a checkpoint, unless one is under way.

        `recent`: entries of the log by version, which need not be read again.
        """
        if self._running is None or self._running.done():
            self._running = self._thread.submit(self._renew, recent)

    def write(self) -> None:
        """Write a checkpoint now, and clean the log up."""
        self._renew({})

    def close(self) -> None:
        """Let a running checkpoint finish within CLOSE_TIMEOUT_S."""
        self._closing = True
        if self._running is not None:
            with suppress(NotYet):
                self._running.exception(CLOSE_TIMEOUT_S)
        if self._child is not None:
            self._child.kill()
        self._thread.shutdown()

    def _renew(self, recent: Mapping[int, bytes]) -> None:
        """Write a checkpoint and clean the log up; a fault of either stops nobody."""
        written = False
        try:
            retention = self._write(recent)
            written = True
            if retention is not None:
                cleanup.clean_up(self._store, retention, self._settle, lambda: self._closing)
        except (PinpipError, OSError, ValueError) as error:
            if self._closing:
                return
            if written:
                _log.warning("log_not_cleaned_up", table=self._uri, error=str(error))
            else:
                _log.warning("checkpoint_failed", table=self._uri, error=str(error))

    def _settle(self, base: int) -> None:
        settled.keep(self._store, base)

    def _write(self, recent: Mapping[int, bytes]) -> timedelta | None:
        """Write a checkpoint; return how long to keep the log, None to remove nothing."""
        if paths.bucket(self._uri) is None:
            return self._run_in_place()
        with mirror.copied(self._store, recent) as folder:
            if folder is None:
                return self._run_in_place()
            retention = self._run(str(folder), {})
            mirror.publish(self._store, folder)
            return retention

    def _run_in_place(self) -> timedelta | None:
        last = log.read_hint(self._store)
        if last is not None and not listing.at(self._store, last.version):
            self._store.remove([log.HINT])  # delta-rs follows it even when it is wrong
        return self._run(self._uri, self._options())

    def _run(self, uri: str, options: Mapping[str, str]) -> timedelta | None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "sinks.delta.checkpoints"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        asked = json.dumps({"uri": uri, "options": dict(options)})
        said, failed = self._child.communicate(asked)
        if self._child.returncode:
            raise FatalError(failed.strip().rpartition("\n")[2] or "it was ended from outside")
        seconds = json.loads(said)["retention"]
        return None if seconds is None else timedelta(seconds=seconds)


def renew(uri: str, options: Options, store: Store) -> bool:
    """Write a checkpoint, and clean the log up, if the table's consumers left it undone.

    Return whether it was overdue: at twice the distance at which a consumer begins its own, which
    may be under way. One by another makes a consumer read its positions again (see `log`). A fault
    of either is a warning.
    """
    found, (before, size) = table.find(uri, options), log.read_hint(store) or (0, 0)
    distance = max(log.CHECKPOINT_EVERY, size // log.CHECKPOINT_SHARE)
    if found is None or found.version() - before < 2 * distance:
        return False
    CheckpointWriter("maintain", uri, options, store).write()
    return True


def main() -> int:
    """Write one checkpoint; return the exit code. A fault is the last line of standard error."""
    os.nice(_NICE)
    asked = json.load(sys.stdin)
    try:
        properties = table.checkpoint(asked["uri"], lambda: asked["options"])
    except PinpipError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    kept = properties.get("delta.enableExpiredLogCleanup", "true").lower() == "false"
    found = None if kept else cleanup.period(properties.get(cleanup.PROPERTY))
    sys.stdout.write(json.dumps({"retention": None if found is None else found.total_seconds()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
