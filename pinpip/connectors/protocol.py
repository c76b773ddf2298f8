"""What a pipeline, verify, status and replay ask of a source, whichever system holds it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from consumers.until_end import Held, UntilEnd
from consumers.window import Window
from core.batch import Coordinates, Partition, Position, Positions
from core.errors import ConfigError
from core.protocols import Source
from core.retry import Outage

if TYPE_CHECKING:
    from audit.snapshot import Snapshot
    from audit.verify import PartitionSummary

UNREAD = "whether it holds unread records"
Watermarks = Mapping[Partition, tuple[Position, Position]]
Starts = dict[Partition, Position | None]
Row = dict[str, Any]


@dataclass(frozen=True)
class Replay:
    """A bounded source over a `Window`.

    `total`: how many records it has at most; None: the system does not tell. `lacking`: the
    partitions of which retention took records of the window, as rows (partition, first_offset,
    expired; None: not known); call it after the source has been read. `ends`: where each partition
    ends, None: not told. `remark`: what a person should know of these records; empty: nothing.
    """

    source: Source
    total: int | None
    lacking: Callable[[], list[Row]]
    ends: Positions
    remark: str = ""


@dataclass(frozen=True)
class SourceEnds:
    """Where the source's partitions begin and end (Kafka), and what is held back beyond that.

    `held_back`: offsets behind transactions that are still open, of each partition that was asked.
    `unknown`: why it is not known.
    """

    watermarks: Watermarks = field(default_factory=dict)
    held_back: Mapping[Partition, int] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def epochs(self) -> dict[str, int | None]:
        """The identity of each topic that answered, None where it has none."""
        return {p.source: high.epoch for p, (_, high) in self.watermarks.items()}


@dataclass
class Beyond:
    """Records that the tables do not hold: `findings` are (kind, where, detail).

    `waiting`: unread offsets or records, none of them for too long. `unknown`: by what it concerns.
    `epochs`: the identity of a stream that answered, None where it is not told.
    """

    findings: list[tuple[str, str, str]] = field(default_factory=list)
    waiting: dict[Partition, int] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    epochs: dict[str, int | None] = field(default_factory=dict)


class Connector(Protocol):
    """The source of one pipeline: the one object that knows which system holds it.

    Unless a method says otherwise it raises SourceError when the source cannot be read as
    configured, and TransientError when it does not respond.
    """

    @property
    def coordinates(self) -> Coordinates:
        """How the source names a record."""
        ...

    @property
    def described(self) -> str:
        """The source in words, for `config check`."""
        ...

    def live(self, outage: Outage, accepted: Mapping[Partition, int] | None) -> Source:
        """Make the source that the pipeline consumes; `outage` is told of its faults.

        `accepted`: the first offsets before which the operator accepts that records expired; None:
        nothing is accepted. A stream has no offsets: there only None matters.
        """
        ...

    def until_end(
        self, outage: Outage, accepted: Mapping[Partition, int] | None, held: Held
    ) -> UntilEnd:
        """Make the live source that ends when the sinks hold what the source holds now.

        `held`: how far the slowest sink is. Raises SourceError also for a topic that is not there.
        """
        ...

    def bounded(self, *, headers: bool = False) -> Source:
        """All that the source holds now, read beside the live consumer; `headers`: wanted too."""
        ...

    def replay(self, window: Window, held: Callable[[Collection[Partition]], Positions]) -> Replay:
        """Open the records of `window`; `held`: where an earlier run of the same replay was.

        Raises RecordsExpired when the first offset that is still wanted is gone, ConfigError for a
        bound that the system does not have.
        """
        ...

    def watermarks(self) -> Watermarks:
        """Return the first offset and the end of each partition; empty: no offsets in this system.

        The end is the last stable offset: transactions that are still open lie beyond it.
        """
        ...

    def source_ends(self, *, must: bool) -> SourceEnds:
        """Return the watermarks, and the offsets that open transactions hold back.

        A source that does not respond is an unknown, or with `must` its error.
        """
        ...

    def first_offsets(self) -> dict[Partition, int]:
        """Return each partition's first offset now; empty: no offsets in this system."""
        ...

    def ends(self) -> dict[Partition, Position | None]:
        """All partitions and where they end now; None: the system does not tell."""
        ...

    def epochs(self, ends: Positions) -> dict[str, int | None]:
        """Return each topic's or stream's epoch now; None: not told. `ends` as of `ends()`."""
        ...

    def beyond(
        self, positions: Positions, watermarks: Watermarks, grace: float, table: "Snapshot"
    ) -> Beyond:
        """Find what is beyond the `positions` of `table`; older than `grace` seconds: a finding.

        `watermarks` as of `watermarks()`. A source that does not respond is an unknown.
        """
        ...

    def reach(
        self, tallies: "Mapping[Partition, PartitionSummary]", watermarks: Watermarks
    ) -> tuple[Starts, dict[Partition, Position]]:
        """From where the source can be compared with the tables, by partition.

        The others cannot be compared; the second mapping says from where those may be read.
        """
        ...

    def forgetful(self) -> set[str]:
        """Return the topics or streams that may lose single records (compacted topics)."""
        ...


def lag(position: Position | None, low: Position, high: Position) -> int:
    """Offsets that can still be read from `position` on; None: from the first one there is."""
    return max(0, high.number - max(low, position or low).number)


def late(records: str, grace: float) -> str:
    """Describe records that were not read in time."""
    return f"{records} records older than {grace:g} s are not in the table: is its consumer up?"


def refuse_offsets(window: Window) -> None:
    """Raise ConfigError for a range of offsets."""
    if window.first is not None or window.last is not None:
        raise ConfigError("Kinesis has no offsets", "use --from-time and --until-time")
