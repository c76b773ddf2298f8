"""What a table's rows say against its positions: no record may be read into a table twice."""

from collections.abc import Collection, Mapping
from datetime import datetime

import polars as pl
from deltalake import DeltaTable

from core.batch import Coordinates, Partition, Position
from core.errors import PositionLost
from sinks.delta import rows, table
from sinks.delta.lives import Lives
from sinks.delta.reading import TableReader
from sinks.delta.target import Target
from sinks.delta.transactions import Lookup

TIME = "_timestamp"
NEWEST = 10  # data files that are looked into at most: `verify` looks into all


def check(
    snapshot: DeltaTable,
    target: Target,
    found: Mapping[Partition, Position | None],
    lookup: Lookup,
) -> None:
    """Refuse lost and rewound positions; `lookup` answers the version of an app id."""
    lost = [p for p, position in found.items() if position is None]
    begun = target.begins
    if lost and not begun:
        begun = lookup(target.app) is not None
    refuse_lost(snapshot, target, lost, begun=begun)
    refuse_rewound(snapshot, target, {p: at for p, at in found.items() if at})


def refuse_lost(
    snapshot: DeltaTable, target: Target, partitions: Collection[Partition], *, begun: bool
) -> None:
    """Rows without a position are PositionLost: None must mean "nothing here".

    Rows of another incarnation count as well until this one was `begun` on purpose: a slip in
    config.yaml must not read a topic again.
    """
    lives = _lives(snapshot, target)
    if lives.reader.files.is_empty():
        return
    for partition in partitions:
        if _has_rows(lives, target.coordinates, partition):
            raise PositionLost(
                f"table {target.uri} has rows of {partition} but no position for it under "
                f"{target.app}",
                "was the pipeline renamed? Give it its old name, or name a new table",
            )
        if not begun and _has_rows(lives.reader, target.coordinates, partition):
            raise PositionLost(
                f"table {target.uri} has rows of {partition}, but of another incarnation than "
                f"{target.app}",
                "is `incarnation` right in config.yaml? To begin this one in the same table, start "
                "once with: pinpip consume PIPELINE --new-incarnation",
            )


def _lives(snapshot: DeltaTable, target: Target) -> Lives:
    return Lives(snapshot, target.options, target.coordinates, target.app, target.folder)


def _has_rows(held: Lives | TableReader, coordinates: Coordinates, partition: Partition) -> bool:
    paths = rows.touching(held.files, coordinates, {partition: (None, None)})
    found = held.scan(paths).filter(coordinates.of(partition)).select(coordinates.identity)
    return bool(paths) and not found.head(1).collect().is_empty()


def refuse_rewound(
    snapshot: DeltaTable, target: Target, positions: Mapping[Partition, Position]
) -> None:
    """Rows beyond a position are PositionLost: somebody put it back, and they would come twice.

    Asks the newest files that may hold such rows by their statistics. A partition's rows are
    written in its order, so its newest file is its witness.
    """
    lives = _lives(snapshot, target)
    files = lives.files.sort("modification_time")
    beyond = {p: (at, None) for p, at in positions.items()}
    suspicious = rows.touching(files, target.coordinates, beyond)
    if not suspicious:
        return
    held = lives.scan(suspicious[-NEWEST:])
    found = held.filter(target.coordinates.beyond(positions)).select(target.coordinates.identity)
    for source, partition, number, *_ in found.head(1).collect().iter_rows():
        at = positions[Partition(source, str(partition))]
        raise PositionLost(
            f"the position of {source}/{partition} in table {target.uri} is {at.number}, but the "
            f"table holds {number}: the position was put back by another hand",
            "put it back where it was; to read records again use: pinpip replay",
        )


def newest_arrivals(target: Target, partitions: Collection[Partition]) -> dict[Partition, datetime]:
    """When the newest row of each partition arrived at a stream; on Kinesis only."""
    newest = table.find(target.uri, target.options) if target.coordinates.sub else None
    if newest is None:
        return {}
    with table.sorted_errors(target.uri):
        found = {p: _newest_arrival(newest, target, p) for p in partitions}
    return {p: at for p, at in found.items() if at is not None}


def _newest_arrival(snapshot: DeltaTable, target: Target, partition: Partition) -> datetime | None:
    """When the newest row of `partition` in the newest files that may hold some arrived."""
    lives = _lives(snapshot, target)
    files = lives.files.sort("modification_time")
    paths = rows.touching(files, target.coordinates, {partition: (None, None)})[-NEWEST:]
    if not paths:
        return None
    own = lives.scan(paths).filter(target.coordinates.of(partition))
    found: datetime | None = own.select(pl.col(TIME).max()).collect().item()
    return found
