"""What a table's rows say against its positions: no record may be read into a table twice."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import polars as pl
from deltalake import DeltaTable

from pinpip.batch import Partition, Position
from pinpip.errors import PositionLost
from sinks import rows

if TYPE_CHECKING:
    from sinks.delta import Target

NEWEST = 10  # data files that are looked into at most: `verify` looks into all


def refuse_lost(
    table: DeltaTable, target: "Target", partitions: Collection[Partition], *, begun: bool
) -> None:
    """Rows without a position are PositionLost: None must mean "nothing here".

    Rows of another incarnation count as well until this one was `begun` on purpose: a slip in
    config.yaml must not read a topic again.
    """
    for partition in partitions:
        own = target.coordinates.of(partition)
        mine = rows.scan(table, target.options, target.folder).filter(own)
        if not mine.head(1).collect().is_empty():
            raise PositionLost(
                f"table {target.uri} has rows of {partition} but no position for it under "
                f"{target.app}",
                "was the pipeline renamed? Give it its old name, or name a new table",
            )
        every = pl.scan_delta(table, storage_options=target.options()).filter(own)
        if not begun and not every.head(1).collect().is_empty():
            raise PositionLost(
                f"table {target.uri} has rows of {partition}, but of another incarnation than "
                f"{target.app}",
                "is `incarnation` right in config.yaml? To begin this one in the same table, start "
                "once with: pinpip consume PIPELINE --new-incarnation",
            )


def refuse_rewound(
    table: DeltaTable, target: "Target", positions: Mapping[Partition, Position]
) -> None:
    """Rows beyond a position are PositionLost: somebody put it back, and they would come twice.

    Asks the newest files that may hold such rows by their statistics. A partition's rows are
    written in its order, so its newest file is its witness.
    """
    files = rows.files(table, target.folder).sort("modification_time")
    beyond = {p: (at, None) for p, at in positions.items()}
    suspicious = rows.touching(files, target.coordinates, beyond)
    if not suspicious:
        return
    held = rows.scan_files(table, target.options, suspicious[-NEWEST:])
    found = held.filter(target.coordinates.beyond(positions)).select(target.coordinates.identity)
    for source, partition, number, *_ in found.head(1).collect().iter_rows():
        at = positions[Partition(source, str(partition))]
        raise PositionLost(
            f"the position of {source}/{partition} in table {target.uri} is {at.number}, but the "
            f"table holds {number}: the position was put back by another hand",
            "put it back where it was; to read records again use: pinpip replay",
        )
