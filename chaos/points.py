"""The failpoints of a consumer, and the wrappers that tell when a sink or its store passes one."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from core.batch import Batch
from core.protocols import Prepared, Sink

_LOG_FOLDER = "_delta_log/"


class Failpoint(StrEnum):
    """Where a consumer can be interrupted."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    BEFORE_WRITE = "before clean write"
    CLEAN_FILE = "clean file written"
    HALF_UPLOADED = "clean file written, others on their way"
    BEFORE_COMMIT = "before clean commit"
    CLEAN_ENTRY = "clean entry written"
    GROUP_ENTRY = "clean entry of several batches written"
    AFTER_CLEAN = "after clean write"
    QUARANTINE_FILE = "quarantine file written"
    AFTER_QUARANTINE = "after quarantine write"
    ARCHIVE_OBJECT = "archive object written"
    AFTER_ARCHIVE = "after archive write"
    BEFORE_ACKNOWLEDGE = "before acknowledge"
    AFTER_ACKNOWLEDGE = "after acknowledge"


@dataclass(frozen=True)
class _SinkPoints:
    """The failpoints of one sink.

    `file`: a data file or object is stored; `half`: while other uploads of the sink run. `entry`:
    the log's next entry is stored; `group`: one that names several batches.
    """

    file: Failpoint
    after: Failpoint
    before: Failpoint | None = None
    half: Failpoint | None = None
    before_commit: Failpoint | None = None
    entry: Failpoint | None = None
    group: Failpoint | None = None


SINKS: Mapping[str, _SinkPoints] = {
    "clean": _SinkPoints(
        file=Failpoint.CLEAN_FILE,
        after=Failpoint.AFTER_CLEAN,
        before=Failpoint.BEFORE_WRITE,
        half=Failpoint.HALF_UPLOADED,
        before_commit=Failpoint.BEFORE_COMMIT,
        entry=Failpoint.CLEAN_ENTRY,
        group=Failpoint.GROUP_ENTRY,
    ),
    "quarantine": _SinkPoints(Failpoint.QUARANTINE_FILE, Failpoint.AFTER_QUARANTINE),
    "archive": _SinkPoints(Failpoint.ARCHIVE_OBJECT, Failpoint.AFTER_ARCHIVE),
}


class SinkPassages:
    """What happens in one sink, told by the wrappers around it, on any thread."""

    def __init__(self, points: _SinkPoints, passed: Callable[[Failpoint], None]) -> None:
        self._points = points
        self._pass = passed
        self._lock = threading.Lock()
        self._uploading = 0
        self._committing = 0

    def preparing(self) -> None:
        """Pass the point before a batch is prepared."""
        self._at(self._points.before)

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Count an upload while the block runs; pass a point when others still run."""
        with self._lock:
            self._uploading += 1
        try:
            yield
            others = self._uploading - 1
        finally:
            with self._lock:
                self._uploading -= 1
        if others:
            self._at(self._points.half)

    @contextmanager
    def commit(self, batches: int) -> Iterator[None]:
        """Pass the points around a commit of so many batches."""
        self._committing = batches
        self._at(self._points.before_commit)
        yield
        self._at(self._points.after)

    def stored(self, key: str) -> None:
        """Pass by what the object is; what is stored beside the table is none of both."""
        if key.startswith(_LOG_FOLDER):
            self._at(self._points.entry)
            self._at(self._points.group if self._committing > 1 else None)
        elif not key.startswith("_"):
            self._at(self._points.file)

    def _at(self, point: Failpoint | None) -> None:
        if point is not None:
            self._pass(point)


@dataclass(frozen=True)
class _WrappedPrepared:
    """A batch for a sink whose upload is counted."""

    prepared: Prepared
    passages: SinkPassages

    @property
    def nbytes(self) -> int:
        return self.prepared.nbytes

    def upload(self) -> None:
        with self.passages.upload():
            self.prepared.upload()


class WrappedSink:
    """A sink that tells of its steps."""

    def __init__(self, sink: Sink, passages: SinkPassages) -> None:
        self._sink, self._passages = sink, passages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def prepare(self, batch: Batch) -> Prepared:
        """Prepare a batch, and pass its point."""
        self._passages.preparing()
        return _WrappedPrepared(self._sink.prepare(batch), self._passages)

    def commit(self, prepared: Sequence[_WrappedPrepared]) -> None:
        """Commit batches, and pass the points around it."""
        with self._passages.commit(len(prepared)):
            self._sink.commit([one.prepared for one in prepared])


class WrappedStore:
    """A store that tells of new objects."""

    def __init__(self, store: object, passages: SinkPassages) -> None:
        self._store, self._passages = store, passages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_new(self, key: str, *arguments: Any, **named: Any) -> Any:
        """Store an object, and pass its point."""
        returned = self._store.put_new(key, *arguments, **named)  # type: ignore[attr-defined]
        self._passages.stored(key)
        return returned
