"""Which life of its topic or stream each sink counts in: they share one, and it is the source's.

What a sink does not keep, or a source does not tell, was not compared: it is named, never assumed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from audit.invariants import Finding, Held, Kind
from core.batch import Coordinates, Partition, Position
from core.errors import TopicRecreated
from core.topic_id import kind_of, known, recreated

Positioned = Mapping[str, Position | None]  # the ends of a partition's chains, by their archives


@dataclass(frozen=True)
class Told:
    """The epoch in which the sink `sink` holds `partition`; None: it keeps none."""

    sink: str
    partition: Partition
    epoch: int | None


def told(clean: Held, quarantine: Held, chains: Positioned) -> list[Told]:
    """Return what the sinks of one partition store.

    A quarantine without an epoch is left out: its rows are compared with the clean table's ledger.
    """
    held = _held(clean, quarantine, chains)
    silent = held.get(quarantine.table)
    if silent is not None and silent.epoch is None and held[clean.table] is not None:
        del held[quarantine.table]
    return [Told(name, clean.partition, at.epoch) for name, at in held.items() if at is not None]


def apart(clean: Held, quarantine: Held, chains: Positioned) -> Iterator[Finding]:
    """Two sinks that hold different lives of one partition."""
    try:
        known(clean.partition, _held(clean, quarantine, chains), clean.coordinates)
    except TopicRecreated as error:
        yield Finding(Kind.RECREATED, clean.partition, error.message)


def differences(
    lives: Sequence[Told], now: Mapping[str, int | None], coordinates: Coordinates
) -> Iterator[Finding]:
    """Sinks that hold another life of a source than the one there `now`: one for each life."""
    found: dict[tuple[str, int], list[Told]] = {}
    for life in lives:
        held, current = life.epoch, now.get(life.partition.source)
        if held is not None and current is not None and held != current:
            found.setdefault((life.partition.source, held), []).append(life)
    for (source, held), others in found.items():
        where = f"what {' and '.join(dict.fromkeys(life.sink for life in others))} have"
        error = recreated(source, held, now[source] or 0, coordinates, where)
        yield Finding(Kind.RECREATED, others[0].partition, error.message)


def unknown(
    lives: Sequence[Told],
    now: Mapping[str, int | None],
    coordinates: Coordinates,
    proven: Collection[Partition] = (),
) -> Iterator[tuple[str, str]]:
    """Report what was not compared and why: each silent source, then each silent sink, once.

    `now`: the epochs of the sources that answered, None where it is not told. `proven`: partitions
    whose every row was compared with the source.
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


def _held(clean: Held, quarantine: Held, chains: Positioned) -> dict[str, Position | None]:
    """Return the sinks' positions; the clean table also stores the epoch in which it began."""
    at = clean.position
    if at is not None and at.epoch is None and clean.origin is not None:
        at = replace(at, epoch=clean.origin.epoch)
    return {clean.table: at, quarantine.table: quarantine.position, **chains}


def _named(sources: Collection[str]) -> str:
    first, *others = sorted(sources)
    return f"{first} and {len(others)} more" if others else first
