"""The table of latest rows of a pipeline with `mode: upsert`: kept beside its consumer, or once."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from threading import Event, Thread

import polars as pl
import structlog

from core.clock import Clock
from core.config import Config
from core.errors import ConfigError, PinpipError
from core.pipeline import Pipeline, latest_of
from pinpip.connectors import coordinates_of
from pinpip.journals import named
from pinpip.pipelines import tables_of
from sinks.delta import table as tables
from sinks.delta.checkpoints import CheckpointWriter
from sinks.delta.log import is_checkpoint_due
from sinks.latest.follower import Follower
from sinks.latest.step import IsOver, Step
from sinks.latest.view import View
from sinks.storage.store import open_store

EVERY_S = 10.0  # from one step to the next, unless the pipeline says so
REST = 7.0  # times as long as a step took: following takes an eighth of the time at most
MOST_WAIT_S = 300.0  # between attempts that fail
LEAVE_S = 4.0  # for a step under way at the end of the process; it is lost, and done again
SINK = "latest"
_FAULTS = (Exception, pl.exceptions.PanicException)
_log = structlog.get_logger()


def view_of(pipeline: Pipeline) -> View:
    """Return what is the latest row in the pipeline, which has `mode: upsert`."""
    return View(pipeline.key or "", pipeline.order or "_timestamp", coordinates_of(pipeline))


class LatestTable:
    """The latest table of the pipeline `name`, and the checkpoints of its log."""

    def __init__(self, config: Config, name: str, clock: Clock) -> None:
        pipeline = config.pipeline(name)
        if not pipeline.is_upsert:
            raise ConfigError(
                f"pipeline {name} keeps no latest rows",
                f"add to pipelines.{name} in config.yaml: mode: upsert, and a key",
            )
        own = tables_of(config, name)
        self.uri = latest_of(own.clean)
        self._store, self._options = open_store(self.uri, config.aws), own.options
        self._follower = Follower(view_of(pipeline), own, self.uri, self._store, clock)
        self._checkpoints = CheckpointWriter(SINK, self.uri, own.options, self._store)

    def step(self, is_over: IsOver = lambda: False, rest: float = 0.0) -> Step:
        """Take one step, as `Follower.step`, and start to write a checkpoint if one is due."""
        done = self._follower.step(is_over, rest)
        written = done.version if done.committed else None
        if written is not None and is_checkpoint_due(written, done.checkpoint):
            self._sweep()  # first: a checkpoint forgets files that were removed long ago
            self._checkpoints.start({})
        return done

    def catch_up(
        self, is_over: IsOver = lambda: False, tell: Callable[[Step], None] = lambda _: None
    ) -> Step:
        """Take steps until nothing is left or it `is_over`; return the last. Raises as `step`."""
        done = self.step(is_over)
        tell(done)
        while (done.behind or done.lost) and not is_over():
            done = self.step(is_over)
            tell(done)
        return done

    def _sweep(self) -> None:
        """Remove files that were replaced longer ago than the table keeps them for readers."""
        try:
            with tables.sorted_errors(self.uri):
                table = tables.find(self.uri, self._options)
                self._store.remove([] if table is None else table.vacuum())
        except PinpipError as error:
            _log.warning("latest_not_swept", error=error.message, next=error.hint)

    def close(self) -> None:
        """Let a running checkpoint finish."""
        self._checkpoints.close()


@contextmanager
def following(config: Config, names: Sequence[str], clock: Clock) -> Iterator[None]:
    """Keep the latest tables of those of the pipelines that have one, while the block runs."""
    stopping = Event()
    threads = [
        Thread(target=named, args=(name, _Pace(config, name, clock, stopping).run))
        for name in names
        if config.pipeline(name).is_upsert
    ]
    for thread in threads:
        thread.daemon = True  # a call on a store that hangs holds nobody up
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(LEAVE_S)


def catch_up(config: Config, name: str, clock: Clock, is_over: IsOver) -> None:
    """Bring the latest table of the pipeline `name` up to date, if it has one."""
    if config.pipeline(name).is_upsert:
        with closing(LatestTable(config, name, clock)) as table:
            table.catch_up(is_over)


class _Pace:
    """Steps of one pipeline, one after the other; no fault of theirs is one of the consumer."""

    def __init__(
        self,
        config: Config,
        name: str,
        clock: Clock,
        stopping: Event,
    ) -> None:
        self._config, self._name = config, name
        self._every = config.pipeline(name).every or EVERY_S
        self._clock = clock
        self._stopping = stopping
        self._failed = 0

    def run(self) -> None:
        """Take steps until the process stops."""
        wait = self._every * random.uniform(0.5, 1.0)
        while not self._stopping.wait(wait):
            try:
                with closing(LatestTable(self._config, self._name, self._clock)) as table:
                    wait = self._steps(table)
            except _FAULTS as error:
                wait = self._note(error)

    def _steps(self, table: LatestTable) -> float:
        """Take steps; return how long to wait for the first once the process stops."""
        wait = 0.0
        while not self._stopping.wait(wait):
            began = self._clock.monotonic()
            # Members of a group share one table: who finds it fresh has nothing to do.
            step = table.step(self._stopping.is_set, self._every / 2)
            took = self._clock.monotonic() - began
            self._failed = 0
            least = 0.0 if step.behind else self._every * random.uniform(0.8, 1.2)
            wait = max(least, REST * took)
        return 0.0

    def _note(self, error: BaseException) -> float:
        """Log why a step failed; return how long to wait for the next."""
        said = error.message if isinstance(error, PinpipError) else repr(error)
        hint = error.hint if isinstance(error, PinpipError) else ""
        self._failed += 1
        wait = min(MOST_WAIT_S, self._every * 2.0 ** min(self._failed, 10))
        _log.warning("latest_not_updated", error=said, next=hint, retry_seconds=round(wait))
        return wait
