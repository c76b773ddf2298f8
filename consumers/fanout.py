"""All sinks of a pipeline as one: each gets every batch, and the slowest says where to read."""

import random
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import TypeVar

from pinpip.batch import Batch, Partition, Position, Rejects
from pinpip.borders import Sink
from pinpip.clock import Clock
from pinpip.errors import StalePosition
from pinpip.retry import retry

T = TypeVar("T")


class Fanout:
    """`sinks`, each call tried again on a transient fault while fewer than `budget()` s went."""

    def __init__(self, sinks: Sequence[Sink], clock: Clock, budget: Callable[[], float]) -> None:
        self._sinks = sinks
        self._clock = clock
        self._budget = budget
        self._rng = random.Random()

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """The minimum over the sinks, read afresh; None where one of them holds nothing."""
        held = [self._retried(lambda s=sink: s.positions(partitions)) for sink in self._sinks]  # type: ignore[misc]
        return {p: _earliest([positions[p] for positions in held]) for p in partitions}

    def rejects(self, partitions: Collection[Partition]) -> list[Rejects]:
        """What the sinks know of the rejects before; asked after `positions`."""
        found = [self._retried(lambda s=sink: s.rejects(partitions)) for sink in self._sinks]  # type: ignore[misc]
        return [window for windows in found for window in windows]

    def write(self, batch: Batch) -> None:
        """Write to every sink."""
        for sink in self._sinks:
            self._retried(lambda s=sink: s.write(batch))  # type: ignore[misc]

    def close(self) -> None:
        """Write what was put off, unless it is another's by now."""
        for sink in self._sinks:
            with suppress(StalePosition):
                self._retried(sink.close)

    def _retried(self, step: Callable[[], T]) -> T:
        return retry(step, self._clock, self._rng, self._budget)


def _earliest(positions: list[Position | None]) -> Position | None:
    known = [position for position in positions if position is not None]
    return min(known) if len(known) == len(positions) else None
