"""Proof that a source gave all that a replacement would take from the live tables."""

from collections.abc import Mapping, Sequence

import polars as pl

from audit.snapshot import Snapshot
from audit.verify import snapshots
from consumers.window import Window
from core.batch import Coordinates, Partition, Position, Positions
from core.errors import SourceError
from pinpip.connectors.protocol import Row
from sinks.delta import keys
from sinks.delta import table as tables
from sinks.delta.affected import affected
from sinks.delta.amendments import Keys
from sinks.delta.ledger import CommitRange
from sinks.delta.replacing import Place
from sinks.delta.selection import Records, Selection
from sinks.delta.target import Tables

_HINT = (
    "replay --from-archive, or what is there alone: --from-offset (a stream: --from-time); nothing"
    " was changed"
)


def positions(live: Tables) -> dict[Partition, Position]:
    """Return up to where both live tables are: what the source gives afterwards has at least it."""
    sides = snapshots(live)
    found = {p: [side.position(p) for side in sides] for p in sides[0].partitions()}
    both = {p: [at for at in own if at is not None] for p, own in found.items()}
    return {p: min(own) for p, own in both.items() if len(own) == len(sides)}


def select(
    ends: Mapping[Partition, Position], window: Window, coordinates: Coordinates
) -> Selection:
    """Select the records of the window before these ends; a stream has no first offset."""
    first = None if coordinates.sub is not None else Position(window.first or 0)
    last = None if window.last is None else Position(window.last)
    bounded = {p: end if last is None else min(end, last) for p, end in sorted(ends.items())}
    ranges = tuple(
        Records(source=p.source, partition=p.id, start=first, end=end)
        for p, end in bounded.items()
        if first is None or end > first
    )
    return Selection(ranges=ranges, since=window.since, until=window.until)


def keys_of(places: Sequence[Place], selection: Selection) -> Keys:
    """Return the sorted keys of the live rows of these records, of both tables."""
    found = dict[Partition, list[pl.Series]]()
    for own in places:
        target = own.target
        table = tables.find_own(target.uri, target.options, target.coordinates)
        gone = {} if table is None else affected(target, table, selection).gone
        for partition, each in gone.items():
            found.setdefault(partition, []).append(each)
    return {p: pl.concat(own).unique().sort() for p, own in found.items()}


def refuse_another_life(held: Positions, ends: Mapping[Partition, Position]) -> None:
    """Raise SourceError where the source's positions are of another topic or stream of its name."""
    for partition, end in ends.items():
        at = held.get(partition)
        if at is not None and not at.agrees(end.epoch):
            raise SourceError(
                f"{partition.source} was deleted and created again: its records are not those that"
                " the table has read",
                "replay --from-archive, or into a new table: --into; nothing was changed",
            )


def refuse_lost(own: Records, given: int, live: Snapshot, held: pl.Series, window: Window) -> None:
    """Raise SourceError unless the source gave as many records as the live table read.

    `held`: the sorted keys of the live rows. A commit that lies in the range in part counts with
    its rows: it read at least those.
    """
    least = most = held.len()
    if not window.is_timed:
        told = live.held(own.of, None)
        inside = [r for r in told.ranges if _begin(r) >= _begin(own) and r.end <= own.end]
        across = [
            r
            for r in told.ranges
            if r not in inside and _begin(r) < own.end and r.end > _begin(own)
        ]
        spans = [(r.start, r.end) for r in inside]
        apart = held.len() - sum(keys.counts(held, spans, told.coordinates))
        read = sum(r.read for r in inside)
        least, most = read + apart, read + max(apart, sum(r.read for r in across))
    if given < least or (given > most and not window.is_timed):
        raise SourceError(
            f"the source gives {given:,} records of {own.of} before {own.end.number}, of which the"
            f" table has read {least:,}: some have expired, or the table began later",
            _HINT,
        )


def refuse_unstaged(
    places: Sequence[Place],
    staged: Selection,
    noted: Mapping[Partition, Position],
    window: Window,
) -> None:
    """Raise SourceError for rows of partitions and shards of which the source gave no record.

    `noted`: where the live tables were before the source was read.
    """
    given = {own.of for own in staged.ranges}
    left = {p: end for p, end in noted.items() if p not in given}
    if not left:
        return
    lost = keys_of(places, select(left, window, places[0].target.coordinates))
    for partition, rows in sorted(lost.items()):
        raise SourceError(
            f"the source gives no record of {partition}, of which the table has {rows.len():,} rows"
            " in the range: they have expired",
            _HINT,
        )


def refuse_expired(gone: Sequence[Row], held: Keys, window: Window) -> None:
    """Raise SourceError when a range of time begins before what the source still holds.

    What the table has read there is not counted: only its rows could be compared. `gone`: as
    `Replay.lacking` says it, `held`: the live rows of the range.
    """
    if not window.is_timed or not gone:
        return
    firsts = {row["partition"]: row["first_offset"] for row in gone}
    for partition, rows in sorted(held.items()):
        first = firsts.get(str(partition))
        unknown = partition.source in firsts
        if unknown or (first is not None and rows.item(0) < first):
            raise SourceError(
                f"the source may no longer hold records of {partition} in the range, of which the"
                " table has rows",
                "name a later --from-time, or replay --from-archive; nothing was changed",
            )


def _begin(own: Records | CommitRange) -> Position:
    return own.start or Position(0)
