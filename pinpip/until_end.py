"""One pipeline from where its sinks are to the ends that its source had at the start, then no more.

The ordinary loop, group and sinks: only the source ends. As Spark's trigger `availableNow`: records
that arrive later may be taken, but the end does not move.
"""

import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

from consumers.engine.loop import Loop
from consumers.until_end import UntilEnd, slowest
from core.batch import Batch, Coordinates, Partition, Position, Positions
from core.clock import Clock
from core.config import Config
from core.observer import Observer, Observers, Unobserved
from core.protocols import Sink
from core.threads import ContextPool
from core.topic_id import known, since
from pinpip.connectors import connector_of, coordinates_of
from pinpip.latest import catch_up
from pinpip.pipelines import loop_of, process_of, sinks_of


@dataclass(frozen=True)
class Accepted:
    """What the operator accepts once; see `pinpip.pipelines.loop_of`."""

    begins: bool = False
    rejects: bool = False
    gap: bool = False


class UntilEndRun:
    """The run of the pipeline `name`; `observer` hears what it does.

    `run` is called once; `stop` at any time, from any thread or signal handler.
    """

    def __init__(
        self,
        config: Config,
        name: str,
        clock: Clock,
        executor: Executor,
        observer: Observer,
        accepted: Accepted = Accepted(),
    ) -> None:
        self.name = name
        self.records = 0
        self.seconds = 0.0
        self._config, self._clock, self._executor = config, clock, executor
        self._accepted = accepted
        self._observer = Observers(observer, Unobserved(clock, self._count))
        self._stopping = threading.Event()
        self._loop: Loop | None = None
        self._source: UntilEnd | None = None

    def run(self) -> None:
        """Fix the ends and consume until every sink holds them, or until stopped.

        Raises what the live pipeline raises, and SourceError for a topic that is not there.
        """
        began = self._clock.monotonic()
        try:
            self._loop = self._composed()
            if self._stopping.is_set():
                self._loop.stop()
            self._loop.run()
            if self.is_complete:
                catch_up(self._config, self.name, self._clock, self._stopping.is_set)
        finally:
            self.seconds = self._clock.monotonic() - began

    def stop(self) -> None:
        """Ask `run` to write what it holds and return."""
        self._stopping.set()
        if self._loop is not None:
            self._loop.stop()

    @property
    def is_complete(self) -> bool:
        """Whether every sink holds the ends."""
        return self._source is not None and self._source.exhausted

    @property
    def partitions(self) -> int:
        """How many partitions or shards there are, as far as it is known."""
        return self._source.partitions if self._source else 0

    @property
    def left(self) -> int | None:
        """How many offsets the sinks are behind; None: not known."""
        return self._source.left if self._source else None

    def behind(self) -> list[dict[str, Any]]:
        """List the partitions whose ends the sinks lack; numbers are text: Kinesis's are long."""
        if self._source is None or self.is_complete:
            return []
        missing = self._source.missing.items()
        return [
            {"partition": str(p), "position": _number(at), "end": _number(end)}
            for p, (at, end) in missing
        ]

    def _composed(self) -> Loop:
        connector = connector_of(self._config, self.name, self._clock)
        accepted = connector.first_offsets() if self._accepted.gap else None
        held = partial(
            slowest_of, self._looking(), coordinates_of(self._config.pipeline(self.name))
        )
        self._source = connector.until_end(self._observer.outage("source"), accepted, held)
        loop = loop_of(
            self._config,
            self.name,
            self._clock,
            self._executor,
            self._observer,
            begins=self._accepted.begins,
            accept_rejects=self._accepted.rejects,
            source=self._source,
        )
        self._source.caught_up = loop.caught_up
        return loop

    def _looking(self) -> list[Sink]:
        """Open the sinks a second time: these only tell their positions."""
        pipeline = self._config.pipeline(self.name)
        process = process_of(pipeline, keep_values=pipeline.keeps_raw)
        begins = self._accepted.begins
        return sinks_of(self._config, self.name, process, self._clock, begins=begins)

    def _count(self, batch: Batch) -> None:
        self.records += sum(span.records for span in batch.spans.values())


def slowest_of(
    sinks: Sequence[Sink], coordinates: Coordinates, partitions: Collection[Partition]
) -> Positions:
    """Return how far the slowest sink is, by what each has stored; all are asked at once."""
    with ContextPool(len(sinks), "look") as pool:
        answers = pool.map(lambda sink: sink.positions(partitions), sinks)
        held = dict(zip([sink.name for sink in sinks], answers, strict=True))
    origins: dict[Partition, Position] = {}
    for sink in sinks:
        origins |= sink.origins(partitions)
    together = {
        p: since(
            known(p, {name: own[p] for name, own in held.items()}, coordinates), origins.get(p)
        )
        for p in partitions
    }
    return {p: slowest(own, coordinates) for p, own in together.items()}


def _number(position: Position | None) -> str | None:
    return None if position is None else str(position.number)
