"""A live source that ends once every sink holds what the source held at the start.

It does not matter who wrote it: another member of the group may own some partitions. So the sinks'
stored positions decide, and no message between members. They are looked up only while this
member's own partitions are at their ends: before that the answer is known.
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Executor, Future

import structlog

from core.batch import Coordinates, Partition, Position, Positions, Records, Stretch
from core.clock import Clock
from core.errors import TransientError
from core.observer import Horizon
from core.origins import Start
from core.protocols import Listener, Source
from core.threads import ContextPool
from core.topic_id import Known

LOOK_EVERY_S = 0.5  # seconds between two looks at least
_SHARE = 10  # a look of one second is followed by a pause of ten
_SHORT_S = 0.05  # for a poll while a look is under way
Goal = Mapping[Partition, Stretch]
Held = Callable[[Collection[Partition]], Positions]
_log = structlog.get_logger(__name__)


class UntilEnd:
    """A core.protocols.Source that is exhausted when the sinks hold `goal`.

    `goal`: each partition from its first position to its end, fixed at the start; None: a source
    that does not tell where its partitions end, and is exhausted when it has read them to there.
    `held`: how far the slowest sink is, by its stored positions; called in `looks`, by default a
    separate thread. A TransientError of it is retried, any other error is raised by `poll`.
    `caught_up` is called when no record that is awaited follows, so that nothing buffered or
    deferred need wait.
    """

    def __init__(
        self,
        source: Source,
        goal: Goal | None,
        held: Held,
        clock: Clock,
        looks: Executor | None = None,
    ) -> None:
        self.coordinates: Coordinates = source.coordinates
        self.exhausted = False
        self.caught_up: Callable[[], None] = lambda: None
        self._source = source
        self._goal = goal
        self._held = held
        self._clock = clock
        self._own: set[Partition] = set()
        self._read: dict[Partition, Position] = {}
        self._at: dict[Partition, Position | None] = {}
        self._found: Positions = {}
        self._look: Future[Positions] | None = None
        self._looks = looks or ContextPool(1, "look")
        self._due = self._asked = clock.monotonic()
        self._told = self._is_open = False

    def open(self, listener: Listener) -> None:
        """Open the source, unless the sinks hold the goal already."""
        self._listener = listener
        if self._goal is not None:
            self._start_look()
            self._end_look()
        if not self.exhausted:
            self._is_open = True
            self._source.open(self)

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Take note and tell the loop."""
        self._own |= set(partitions)
        self._told = False
        self._listener.assigned(partitions)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Take note and tell the loop."""
        self._own -= set(partitions)
        self._told = False
        for partition in partitions:
            self._read.pop(partition, None)
        self._listener.revoked(partitions)

    def poll(self, timeout: float) -> Records | None:
        """Return the next records; find out whether the sinks hold the goal.

        Raises what `held` raises, unless it is transient.
        """
        if self._look is not None:
            timeout = min(timeout, _SHORT_S)
            if self._look.done():
                self._end_look()
        elif self._is_own_share(self._read):
            timeout = min(timeout, LOOK_EVERY_S)
            self._finish_own_share()
        records = self._source.poll(timeout)
        if records is not None:
            self._read |= {p: span.end for p, span in records.spans.items()}
        return records

    def starts(self, sources: Collection[str]) -> Mapping[str, Start]:
        """As the source."""
        return self._source.starts(sources)

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """As the source; where the sinks are is where this member's share begins."""
        self._source.bind(known)
        self._at |= {p: slowest(own, self.coordinates) for p, own in known.items()}

    def seek(self, positions: Positions) -> None:
        """As the source."""
        self._source.seek(positions)
        for partition, position in positions.items():
            self._read.pop(partition, None)
            begin = position or self._at.get(partition)
            if begin is not None:
                self._read[partition] = begin

    def pause(self) -> None:
        """As the source."""
        self._source.pause()

    def resume(self) -> None:
        """As the source."""
        self._source.resume()

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        """As the source; so far this member has written."""
        self._source.acknowledge(positions)
        was_done = self._is_own_share(self._at)
        self._at |= positions
        if not was_done and self._is_own_share(self._at):
            self._due = self._clock.monotonic()  # pauses are for what others are to write

    def horizons(self) -> Mapping[Partition, Horizon]:
        """As the source."""
        return self._source.horizons() if self._is_open else {}

    def close(self) -> None:
        """Leave the group; a look that does not come back is left alone."""
        self._looks.shutdown(wait=False, cancel_futures=True)
        if self._is_open:
            self._source.close()

    @property
    def partitions(self) -> int:
        """How many partitions the goal has, as far as it is known."""
        return len(self._own.union(self._wanted() or ()))

    @property
    def missing(self) -> dict[Partition, tuple[Position | None, Position | None]]:
        """Where the sinks are and where they must be, of the partitions that are behind.

        The end is None where the source does not tell it.
        """
        goal = self._wanted()
        if goal is None:
            return {p: (self._at.get(p), None) for p in sorted(self._own)}
        ends = {p: stretch.end for p, stretch in sorted(goal.items())}
        at = {p: self._behind(p, end) for p, end in ends.items()}
        return {p: (at[p], end) for p, end in ends.items() if not is_held(at[p], end)}

    @property
    def left(self) -> int | None:
        """How many offsets the sinks are behind; None for a source without offsets."""
        if self._goal is None:
            return None
        begins = {p: s.start.number if s.start else 0 for p, s in self._goal.items()}
        held = {p: at.number if (at := self._at.get(p)) else 0 for p in begins}
        return sum(max(0, s.end.number - max(begins[p], held[p])) for p, s in self._goal.items())

    def _behind(self, partition: Partition, end: Position) -> Position | None:
        """Where this member is, or a sink that others fill, as of the last look."""
        own = self._at.get(partition)
        return self._found.get(partition) if is_held(own, end) else own

    def _wanted(self) -> Goal | None:
        """Return the goal; None while it is not known."""
        if self._goal is not None or not self._source.exhausted:
            return self._goal
        return {p: Stretch(None, end) for p, end in self._read.items()}

    def _finish_own_share(self) -> None:
        """Have the loop write what was read, then look whether all sinks hold the goal."""
        if not self._told:
            self._told = True
            self.caught_up()
        elif self._is_own_share(self._at) and self._clock.monotonic() >= self._due:
            self._start_look()

    def _is_own_share(self, reached: Mapping[Partition, Position | None]) -> bool:
        """Whether this member's partitions have `reached` their ends."""
        goal = self._wanted()
        if goal is None:
            return False
        own = self._own & goal.keys()
        return all(is_held(reached.get(p), goal[p].end) for p in own)

    def _start_look(self) -> None:
        self._asked = self._clock.monotonic()
        self._look = self._looks.submit(self._held, sorted(self._wanted() or ()))

    def _end_look(self) -> None:
        """Take over what the look found, unless it must be repeated."""
        look, self._look = self._look, None
        try:
            found = look.result() if look else {}
        except TransientError as error:
            _log.debug("positions_unknown", error=error.message)
            return
        finally:
            now = self._clock.monotonic()
            self._due = now + max(LOOK_EVERY_S, _SHARE * (now - self._asked))
        goal = self._wanted()
        self._at |= {p: at for p, at in found.items() if p not in self._own}
        self._found = found
        self.exhausted = goal is not None and all(
            is_held(found.get(p), stretch.end) for p, stretch in goal.items()
        )
        self._told = False


def is_held(at: Position | None, end: Position) -> bool:
    """Whether a sink at this position holds all before `end`."""
    return at is not None and at.agrees(end.epoch) and at >= end


def slowest(own: Known, coordinates: Coordinates) -> Position | None:
    """Return how far the slowest sink is: a sink without a position is where its pipeline began.

    A shard begins at a time, which is not a position.
    """
    return own.start or (own.origin if coordinates.sub is None else None)
