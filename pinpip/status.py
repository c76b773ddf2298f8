"""Where a pipeline is: its tables' positions, its source's ends, and the lag between.

It reads the tables' logs and asks the source; no row is read.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from core.errors import ConfigError, PinpipError, TransientError
from pinpip.connectors.protocol import lag

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from core.batch import Partition, Position
    from core.config import Config
    from pinpip.connectors.protocol import SourceEnds
    from sinks.delta.positions import Lookup
    from sinks.delta.target import Tables

A = TypeVar("A")
T = TypeVar("T")
_AT_ONCE = 8  # pipelines that are looked at side by side


@dataclass(frozen=True)
class Held:
    """What the tables of a pipeline say of themselves: rows, and the positions' `txn` actions.

    `small`: files that `pinpip maintain` would merge; None: not asked.
    """

    clean: int
    quarantined: int
    lookup: "Lookup | None"
    partitions: "Collection[Partition]"
    small: int | None = None


@dataclass(frozen=True)
class Ends:
    """What a pipeline's source says of itself: its partitions, their ends, and its identity."""

    partitions: "Collection[Partition]"
    asked: "SourceEnds"
    epochs: Mapping[str, int | None]


@dataclass(frozen=True)
class PartitionStatus:
    """One partition or shard; None: not known.

    `lag`: offsets between position and end. `gone`: what retention took unread. `expired`: what of
    that was accepted; of a shard only the number of `accepted_gaps` is known. `left_out`: records
    that `where` did not take, `unclaimed` of them by no other pipeline. `recreated`: another topic
    or stream has that name now. `held_back`: offsets behind a transaction that is still open.
    """

    partition: "Partition"
    position: "Position | None" = None
    end: "Position | None" = None
    lag: int | None = None
    gone: int | None = None
    expired: int | None = None
    accepted_gaps: int | None = None
    left_out: int | None = None
    unclaimed: int | None = None
    recreated: bool | None = None
    held_back: int | None = None

    def tree(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        position, end = self.position, self.end
        return vars(self) | {
            "partition": str(self.partition),
            "position": None if position is None else str(position.number),
            "end": None if end is None else str(end.number),
        }


@dataclass(frozen=True)
class PipelineStatus:
    """One pipeline: rows of its tables, and its partitions. `unknown`: why something is None.

    `small_files`: those of the table and its quarantine that `pinpip maintain` would merge.
    """

    pipeline: str
    table: str
    clean: int | None
    quarantined: int | None
    lag: int | None
    left_out: int | None
    unclaimed: int | None
    partitions: Sequence[PartitionStatus]
    unknown: Mapping[str, str] = field(default_factory=dict)
    small_files: int | None = None

    def tree(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        rows = [partition.tree() for partition in self.partitions]
        return vars(self) | {"partitions": rows, "unknown": dict(self.unknown)}


def statuses(config: "Config", names: Sequence[str]) -> list[PipelineStatus]:
    """Return the status of these pipelines; what cannot be told now is said in `unknown`."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:  # a source may take long not to respond
        return list(threads.map(partial(status_of, config), names))


def status_of(config: "Config", name: str) -> PipelineStatus:
    """Return the status of one pipeline."""
    from pinpip.pipelines import tables_of

    tables = tables_of(config, name)
    unknown: dict[str, str] = {}
    look = partial(held_of, target=int(config.maintained(name).target))
    held = _unless(look, tables, (TransientError, ConfigError), unknown, tables.clean)
    read = ", ".join(config.pipeline(name).reads)
    ends = _unless(partial(ends_of, config), name, (PinpipError,), unknown, read)
    return joined(name, tables, held, ends, unknown)


def _unless(
    look: Callable[[A], T],
    at: A,
    errors: tuple[type[PinpipError], ...],
    unknown: dict[str, str],
    what: str,
) -> T | None:
    """Return what `look` finds; None when it cannot tell now, and `unknown` says why."""
    try:
        return look(at)
    except errors as error:
        unknown[what] = f"{error.message}; next: {error.hint}" if error.hint else error.message
        return None


def held_of(tables: "Tables", target: int | None = None) -> Held:
    """Return what the tables say; raise a PinpipError when they cannot be read.

    `target`: the bytes of a data file that upkeep aims at; None: small files are not counted.
    """
    from sinks.delta import positions, txns
    from sinks.delta.table import find_own

    clean, quarantine = (
        find_own(uri, tables.options, tables.coordinates)
        for uri in (tables.clean, tables.quarantine)
    )
    told = txns.read(clean, tables.options) if clean else None
    return Held(
        _count(clean, tables),
        _count(quarantine, tables),
        None if told is None else txns.lookup(told),
        positions.partitions(told or (), tables.app),
        None if target is None else sum(_small(t, tables, target) for t in (clean, quarantine)),
    )


def ends_of(config: "Config", name: str) -> Ends:
    """Return what the source says; raise a PinpipError when it does not respond."""
    from pinpip.connectors import connector_of

    connector = connector_of(config, name)
    asked = connector.source_ends(must=True)
    ends = {p: high for p, (_, high) in asked.watermarks.items()} or connector.ends()
    return Ends(list(ends), asked, connector.epochs(ends))


def joined(
    name: str,
    tables: "Tables",
    held: Held | None,
    ends: Ends | None,
    unknown: Mapping[str, str],
) -> PipelineStatus:
    """Return what the tables and the source say together; None: that one is not known now."""
    known = ends.partitions if ends else held.partitions if held else ()
    rows = [_partition(tables, held, ends, p) for p in sorted(known)]
    lags = [row.lag for row in rows if row.lag is not None]
    untold = ends.asked.unknown if ends else {}  # a topic that is absent may have had records
    return PipelineStatus(
        pipeline=name,
        table=tables.clean,
        clean=None if held is None else held.clean,
        quarantined=None if held is None else held.quarantined,
        lag=sum(lags) if ends and not untold and len(lags) == len(rows) else None,
        left_out=None if held is None else sum(row.left_out or 0 for row in rows),
        unclaimed=None if held is None else sum(row.unclaimed or 0 for row in rows),
        partitions=rows,
        unknown={**unknown, **untold},
        small_files=None if held is None else held.small,
    )


def _partition(
    tables: "Tables", held: Held | None, ends: Ends | None, partition: "Partition"
) -> PartitionStatus:
    from sinks.delta import positions

    position, expired, gaps, left_out = None, 0, 0, (0, 0)
    if held is not None and held.lookup is not None:
        lookup = held.lookup
        position = positions.read_with_epoch(lookup, tables.app, partition, tables.coordinates)
        expired = positions.read_expired(lookup, tables.app, partition)
        gaps = positions.accepted_gaps(lookup, tables.app, partition)
        left_out = positions.read_left_out(lookup, tables.app, partition)
    asked, epochs = (ends.asked, ends.epochs) if ends else (None, {})
    low, high = asked.watermarks.get(partition, (None, None)) if asked else (None, None)
    return PartitionStatus(
        partition=partition,
        position=position,
        end=high,
        lag=lag(position, low, high) if low and high and held else None,
        gone=None if low is None or held is None else _beyond(low, position or low),
        expired=None if held is None else expired,
        accepted_gaps=None if held is None else gaps,
        left_out=None if held is None else left_out[0],
        unclaimed=None if held is None else left_out[1],
        recreated=_is_another(position, epochs.get(partition.source)) if ends else None,
        held_back=asked.held_back.get(partition) if asked else None,
    )


def _is_another(position: "Position | None", epoch: int | None) -> bool:
    """Whether the position counts in another life of the source, as far as both are told."""
    return None not in {epoch, held := position and position.epoch} and held != epoch


def _beyond(far: "Position", near: "Position") -> int:
    """Offsets from `near` to `far`."""
    return max(0, far.number - near.number)


def _small(table: "DeltaTable | None", tables: "Tables", target: int) -> int:
    from sinks.delta.compaction import mergeable

    return 0 if table is None else mergeable(table, tables.options, target)


def _count(table: "DeltaTable | None", tables: "Tables") -> int:
    from sinks.delta.scan import TableReader

    return 0 if table is None else TableReader(table, tables.options).count()
