"""Compare the topic or stream identity that each sink stores with the others' and the source's.

An identity that a sink does not store, or a source does not report, is listed as not compared.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from audit.invariants import Finding, FindingKind, TablePartition
from core.batch import Coordinates, Partition, Position
from core.errors import TopicRecreated
from core.topic_id import kind_of, known, recreated

Positioned = Mapping[str, Position | None]  # the ends of a partition's chains, by their archives


@dataclass(frozen=True)
class SinkEpoch:
    """The epoch that the sink `sink` stores for `partition`; None: it stores no epoch."""

    sink: str
    partition: Partition
    epoch: int | None


def sink_epochs(
    clean: TablePartition, quarantine: TablePartition, chains: Positioned
) -> list[SinkEpoch]:
    """Return the epochs that the sinks of one partition store.

    A quarantine without an epoch is omitted: its rows are compared with the clean table's ledger.
    """
    held = _held(clean, quarantine, chains)
    silent = held.get(quarantine.table)
    if silent is not None and silent.epoch is None and held[clean.table] is not None:
        del held[quarantine.table]
    return [
        SinkEpoch(name, clean.partition, at.epoch) for name, at in held.items() if at is not None
    ]


def conflicting(
    clean: TablePartition, quarantine: TablePartition, chains: Positioned
) -> Iterator[Finding]:
    """Report two sinks of one partition with different epochs."""
    held = _held(clean, quarantine, chains)
    if len({at.epoch for at in held.values() if at is not None} - {None}) <= 1:
        return
    try:
        known(clean.partition, held, clean.coordinates)
    except TopicRecreated as error:
        yield Finding(FindingKind.RECREATED, clean.partition, error.message)


def differences(
    lives: Sequence[SinkEpoch], now: Mapping[str, int | None], coordinates: Coordinates
) -> Iterator[Finding]:
    """Report the sinks whose epoch is not the source's epoch of `now`, once per epoch."""
    found: dict[tuple[str, int], list[SinkEpoch]] = {}
    for life in lives:
        held, current = life.epoch, now.get(life.partition.source)
        if held is not None and current is not None and held != current:
            found.setdefault((life.partition.source, held), []).append(life)
    for (source, held), others in found.items():
        where = f"what {' and '.join(dict.fromkeys(life.sink for life in others))} have"
        error = recreated(source, held, now[source] or 0, coordinates, where)
        yield Finding(FindingKind.RECREATED, others[0].partition, error.message)


def unknown(
    lives: Sequence[SinkEpoch],
    now: Mapping[str, int | None],
    coordinates: Coordinates,
    proven: Collection[Partition] = (),
) -> Iterator[tuple[str, str]]:
    """Yield what was not compared and why: sources without an epoch, then sinks without one.

    `now`: the epochs of the sources that responded, None where a source reports none. `proven`:
    partitions whose every row was compared with the source.
    """
    kind = kind_of(coordinates)
    left = [life for life in lives if life.partition not in proven and life.partition.source in now]
    silent = {life.partition.source for life in left if now[life.partition.source] is None}
    rest = f"whether the positions are of the {kind} that is there now"
    if silent:
        what = "topic id" if coordinates.sub is None else "time of the stream's creation"
        yield _named(silent), f"the source tells no {what}: {rest}"
    for sink in dict.fromkeys(life.sink for life in left):
        own = {life.partition.source for life in left if (life.sink, life.epoch) == (sink, None)}
        if own - silent:
            yield sink, f"it keeps no identity of {kind} {_named(own - silent)}: {rest}"


def _held(
    clean: TablePartition, quarantine: TablePartition, chains: Positioned
) -> dict[str, Position | None]:
    """Return the sinks' positions; the clean table also stores the epoch of its first start."""
    at = clean.position
    if at is not None and at.epoch is None and clean.origin is not None:
        at = replace(at, epoch=clean.origin.epoch)
    return {clean.table: at, quarantine.table: quarantine.position, **chains}


def _named(sources: Collection[str]) -> str:
    first, *others = sorted(sources)
    return f"{first} and {len(others)} more" if others else first
