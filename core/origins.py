"""Where a pipeline begins to read: fixed once, at its first start, for all partitions of a source.

What expires later is then a gap that is seen, `latest` holds for the partitions of that moment, and
those that are added later begin at their first record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.batch import Partition, Position


@dataclass(frozen=True)
class Begin:
    """Where one partition may begin: its ends now, and what `start` makes of them.

    `first`: at the pipeline's first start. `later`: in a partition that was added after it.
    """

    low: Position
    end: Position
    first: Position
    later: Position


@dataclass(frozen=True)
class Start:
    """A topic or stream at the moment of a pipeline's first start.

    `at_ms`: that moment, None where the table's clock may say. `begins`: its partitions; None for a
    shard, which has no offsets: it begins at that moment.
    """

    begins: Mapping[Partition, Begin | None]
    epoch: int | None = None
    at_ms: int | None = None


@dataclass(frozen=True)
class Pins:
    """What a table keeps of a `Start`: the positions that begin now, and all first offsets.

    `open`: partitions that were read before this was kept, perhaps from a later offset than that.
    """

    positions: Mapping[Partition, Position]
    firsts: Mapping[Partition, Position]
    open: frozenset[Partition] = frozenset()


def pinned(start: Start, held: Mapping[Partition, Position | None]) -> Pins:
    """Where the partitions of `start` begin, of which `held` are read already.

    A source of which something is read was started before this was kept: a partition without a
    position was added later, and of the others only the past is open.
    """
    begun = any(position is not None for position in held.values())
    positions, firsts, opened = {}, {}, set()
    for partition, begin in start.begins.items():
        position = held.get(partition)
        if begin is not None and position is not None:
            firsts[partition] = min(position, begin.low)
            if begin.first > begin.low:  # `latest`: nobody knows at which end it began
                opened.add(partition)
        elif begin is not None:
            at = begin.later if begun else begin.first
            positions[partition] = firsts[partition] = replace(at, epoch=start.epoch)
    return Pins(positions, firsts, frozenset(opened))


def belongs(furthest: Position | None, epoch: int | None, begin: Begin | None) -> bool:
    """Whether a sink's position can be one of the partition that is there now."""
    if furthest is None:
        return True
    return furthest.agrees(epoch) and (begin is None or furthest <= begin.end)
