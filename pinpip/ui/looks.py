"""What is looked at again and again: the tables' positions, and the source's ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

from audit.verify import snapshots
from core.batch import KAFKA, Partition, Position
from core.clock import Clock
from core.config import Config, StreamSection
from core.errors import FatalError, PinpipError
from core.observer import Horizon
from pinpip.connectors import connector_of
from pinpip.lake.look import UNEXPECTED, why
from pinpip.pipelines import tables_of
from pinpip.status import Ends, Held, ends_of, held_of
from sinks.delta.target import Tables

T = TypeVar("T")
GRACE_S = 60.0  # a record of a shard that is unread for longer makes it behind
FAR_S = 30.0  # between two looks at all shards: a shard answers five times a second in all


@dataclass(frozen=True)
class Fault:
    """Why something is not known. `lasting`: a person must act."""

    message: str
    next: str = ""
    lasting: bool = False

    @property
    def line(self) -> str:
        """Both in one line."""
        return f"{self.message}; next: {self.next}" if self.next else self.message


@dataclass(frozen=True)
class Look(Generic[T]):
    """What was found: `value`, or the `fault`; `at`: just before it was asked for; None: never."""

    at: datetime | None = None
    value: T | None = None
    fault: Fault | None = None


@dataclass(frozen=True)
class Source:
    """What a source says now.

    `horizons`: where partitions end, as far as they are known; of a shard only if all of it was
    read. `behind`: what of a stream has waited for too long. `unknown`: by what it concerns.
    """

    ends: Ends
    horizons: Mapping[Partition, Horizon]
    waiting: Mapping[Partition, int] = field(default_factory=dict)
    behind: tuple[str, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)


def looked(look: Callable[[datetime], T], clock: Clock) -> Look[T]:
    """Return what `look` finds, told when it was asked; it raises nothing."""
    now = clock.now()
    try:
        return Look(now, look(now))
    except PinpipError as error:
        fault = Fault(error.message, error.hint, isinstance(error, FatalError))
    except UNEXPECTED as error:
        fault = Fault(why(error))
    return Look(now, None, fault)


class TablesLook:
    """Looks at the positions in a pipeline's tables; after a fault it finds the tables again."""

    def __init__(self, config: Config, name: str, clock: Clock) -> None:
        self._find = partial(tables_of, config, name)
        self._clock = clock
        self._tables: Tables | None = None

    def look(self) -> Look[Held]:
        """Return what the tables say now."""
        found = looked(self._read, self._clock)
        if found.fault is not None:
            self._tables = None
        return found

    def _read(self, _at: datetime) -> Held:
        self._tables = self._tables or self._find()
        return held_of(self._tables)


def source_look(config: Config, name: str, clock: Clock) -> Callable[[], Look[Source]]:
    """Return the look at a pipeline's source."""
    if isinstance(config.pipeline(name).source, StreamSection):
        return partial(looked, _Shards(config, name, clock).look, clock)
    return partial(looked, lambda at: _topics(config, name, at), clock)


def _topics(config: Config, name: str, at: datetime) -> Source:
    ends = ends_of(config, name)
    marks = ends.asked.watermarks.items()
    horizons = {p: Horizon(high, at, begin=low.number) for p, (low, high) in marks}
    return Source(ends, horizons, unknown=dict(ends.asked.unknown))


class _Shards:
    """Looks at the shards of a stream, and now and then at what they hold beyond the positions."""

    def __init__(self, config: Config, name: str, clock: Clock) -> None:
        self._config = config
        self._name = name
        self._clock = clock
        self._found: Source | None = None
        self._until = clock.monotonic()

    def look(self, at: datetime) -> Source:
        """Return what is known of the stream, at most half a minute old."""
        if self._found is None or self._clock.monotonic() >= self._until:
            self._found = self._looked(at)
            self._until = self._clock.monotonic() + FAR_S
        return self._found

    def _looked(self, at: datetime) -> Source:
        connector = connector_of(self._config, self._name, self._clock)
        ends = ends_of(self._config, self._name)
        clean, _ = snapshots(tables_of(self._config, self._name))
        positions = {p: clean.position(p) for p in {*ends.partitions, *clean.partitions()}}
        beyond = connector.beyond(positions, {}, GRACE_S, clean)
        late = {where for _, where, _ in beyond.findings}
        read = {
            p: Horizon(position or Position(0), at)
            for p, position in positions.items()
            if p in ends.partitions and p not in beyond.waiting and str(p) not in late
        }
        known = read if not beyond.unknown else {}
        behind = tuple(f"{where}: {detail}" for _, where, detail in beyond.findings)
        return Source(ends, known, dict(beyond.waiting), behind, dict(beyond.unknown))


def has_offsets(tables: Tables) -> bool:
    """Return whether positions count records."""
    return tables.coordinates is KAFKA
