"""What one pipeline writes to the log: its start, a line a minute at most, rejects, its end."""

import platform
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import version

import structlog

from core import __version__
from core.batch import Batch, Partition, Positions
from core.clock import Clock
from core.errors import PinpipError, StalePosition
from core.observer import Unobserved
from monitor.first_rejects import FirstRejects
from monitor.view import PipelineView, State

EVERY_S = 60.0  # seconds between two lines that tell how it goes
IDLE_EVERY_S = 600.0  # the same while nothing is written and the state stays as it is
NAMED = 8  # partitions in a line
_log = structlog.get_logger()


@dataclass
class _Counts:
    """What was written, since the last line or since the start."""

    records: int = 0
    quarantined: int = 0
    commits: int = 0
    conflicts: int = 0

    def add(self, batch: Batch) -> None:
        self.records += sum(span.records for span in batch.spans.values())
        self.quarantined += batch.rejected.height
        self.commits += 1

    def fields(self) -> dict[str, int]:
        """Return what a line tells; what is rare only when there was any."""
        rare = {"quarantined": self.quarantined, "conflicts": self.conflicts}
        often = {"records": self.records, "commits": self.commits}
        return often | {name: n for name, n in rare.items() if n}


class Journal(Unobserved):
    """An `Observer` of the pipeline called `pipeline`.

    `source` and `table`: in words, for people. `summary` is asked once a minute.
    """

    def __init__(
        self,
        pipeline: str,
        clock: Clock,
        source: str,
        table: str,
        summary: Callable[[], PipelineView],
    ) -> None:
        super().__init__(clock)
        self.pipeline = pipeline
        self._log = _log.bind(pipeline=pipeline)
        self._source, self._table, self._summary = source, table, summary
        self._lock = threading.Lock()  # `wrote` is called from another thread
        self._total, self._recent = _Counts(), _Counts()
        self._rejects = FirstRejects(clock)
        self._reading: set[Partition] = set()
        self._gained: dict[Partition, str] = {}
        self._lost: set[Partition] = set()
        self._begun = self._looked = self._told = clock.monotonic()
        self._rebalanced: float | None = None
        self._overtaken: float | None = None
        self._state = ""

    def begin(self) -> None:
        """Write the first line: what runs, before anything is reached."""
        self._log.info(
            "starting",
            source=self._source,
            table=self._table,
            version=__version__,
            python=platform.python_version(),
            polars=version("polars"),
            deltalake=version("deltalake"),
        )

    def end(self, error: BaseException | None = None) -> None:
        """Write the last line: totals, and the error that ended it, if one did."""
        seconds = round(self._clock.monotonic() - self._begun)
        fields = {**self._total.fields(), "seconds": seconds}
        if error is None:
            self._log.info("stopped", **fields)
            return
        said, following = f"unexpected {type(error).__name__}: {error}", None
        if isinstance(error, PinpipError):
            said, following = error.message, error.hint or None
        self._log.error("stopped", error=said, next=following, **fields)

    def turned(self, held: int = 0) -> None:
        """Write the lines that are due."""
        del held
        now = self._clock.monotonic()
        if self._gained or self._lost:
            self._tell_partitions(now)
        if now - self._looked >= EVERY_S:
            self._looked = now
            self._tell(now)

    def started(self, positions: Positions) -> None:
        """Note where reading begins in partitions that are new."""
        new = positions.keys() - self._reading
        self._gained |= {
            p: f"{p} at {'its start' if (at := positions[p]) is None else at.number}" for p in new
        }
        self._lost -= new
        self._reading |= new

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Note the partitions that are given up."""
        self._lost |= self._reading & set(partitions)
        for partition in partitions:
            self._gained.pop(partition, None)
        self._reading.difference_update(partitions)

    def wrote(self, batch: Batch) -> None:
        """Count the batch; write a line for the first rejected record of a reason."""
        with self._lock:
            self._total.add(batch)
            self._recent.add(batch)
            found = self._rejects.add(batch) if batch.rejected.height else []
        for fields in found:
            self._log.warning("record_quarantined", **fields)

    def overtaken(self, stale: StalePosition) -> None:
        """Write a line, but not again within a minute."""
        with self._lock:
            self._total.conflicts += 1
            self._recent.conflicts += 1
        now = self._clock.monotonic()
        if self._overtaken is None or now - self._overtaken >= EVERY_S:
            self._overtaken = now
            self._log.warning("another_writer_committed_first", where=stale.message)

    def _tell_partitions(self, now: float) -> None:
        """Tell of the first partitions at once; of changes that follow once a minute."""
        if self._rebalanced is not None and now - self._rebalanced < EVERY_S:
            return
        partitions, positions = len(self._reading), _named(self._gained)
        if self._rebalanced is None:
            self._log.info("reading", partitions=partitions, positions=positions)
        else:
            change = {"gained": len(self._gained), "lost": len(self._lost)}
            self._log.info("rebalanced", partitions=partitions, **change, positions=positions)
        self._rebalanced, self._gained, self._lost = now, {}, set()

    def _tell(self, now: float) -> None:
        """Tell how it goes: when records were written, when the state changed, and now and then."""
        view, seconds = self._summary(), now - self._told
        with self._lock:
            changed = view.state.word != self._state
            if not (self._recent.records or changed or seconds >= IDLE_EVERY_S):
                return
            recent, self._recent = self._recent, _Counts()
        self._told, self._state = now, view.state.word
        fields = {
            "state": view.state.word,
            **recent.fields(),
            "rate": round(recent.records / seconds, 1),
            "lag": view.lag,
            "behind_seconds": view.lag_seconds,
            "partitions": len(self._reading),
        }
        if _is_wrong(view.state, recent.records):
            why, following = view.state.why or None, view.state.next or None
            self._log.warning("not_well", **fields, why=why, next=following)
        else:
            self._log.info("progress" if recent.records else "idle", **fields)


def _is_wrong(state: State, records: int) -> bool:
    """Whether a person should look: catching up, or standing by for another consumer, is well."""
    return state.level == "bad" or (state.level == "warn" and bool(state.next) and records > 0)


def _named(positions: dict[Partition, str]) -> list[str]:
    """Return the first positions, and how many there are besides."""
    said = [positions[partition] for partition in sorted(positions)]
    more = len(said) - NAMED
    return said if more <= 0 else [*said[:NAMED], f"… {more} more"]
