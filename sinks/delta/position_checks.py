"""What a table says against a writer: rows without or beyond a position, another pipeline."""

from collections.abc import Collection, Mapping
from datetime import datetime

import polars as pl
from deltalake import DeltaTable

from core.batch import Coordinates, Partition, Position, Positions
from core.errors import PositionLost, SinkError
from sinks.delta import history, scan, table
from sinks.delta.commit_log import CommitLog
from sinks.delta.incarnation_reader import IncarnationReader
from sinks.delta.positions import OWNER, Lookup, owner_mark, pipeline_of
from sinks.delta.scan import TableReader
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store

TIME = "_timestamp"
MAX_FILES = 10  # data files to look into: `verify` looks into all


def check(
    snapshot: DeltaTable,
    target: DeltaTarget,
    found: Mapping[Partition, Position | None],
    lookup: Lookup,
) -> None:
    """Refuse lost and rewound positions; `lookup` returns the version of an app id."""
    lost = [p for p, position in found.items() if position is None]
    begun = target.begins
    if lost and not begun:
        begun = lookup(target.app) is not None
    refuse_lost(snapshot, target, lost, begun=begun)
    refuse_rewound(snapshot, target, {p: at for p, at in found.items() if at})


def refuse_lost(
    snapshot: DeltaTable, target: DeltaTarget, partitions: Collection[Partition], *, begun: bool
) -> None:
    """Rows without a position are PositionLost: None must mean "nothing here".

    Rows of another incarnation count as well until this one was `begun` on purpose: a slip in
    config.yaml must not read a topic again.
    """
    reader = _reader(snapshot, target)
    if reader.reader.files.is_empty():
        return
    for partition in partitions:
        if _has_rows(reader, target.coordinates, partition):
            raise PositionLost(
                f"table {target.uri} has rows of {partition} but no position for it under "
                f"{target.app}",
                "was the pipeline renamed? Give it its old name, or name a new table",
            )
        if not begun and _has_rows(reader.reader, target.coordinates, partition):
            raise PositionLost(
                f"table {target.uri} has rows of {partition}, but of another incarnation than "
                f"{target.app}",
                "is `incarnation` right in config.yaml? To begin this one in the same table, start "
                "once with: pinpip consume PIPELINE --new-incarnation",
            )


def _reader(snapshot: DeltaTable, target: DeltaTarget) -> IncarnationReader:
    return IncarnationReader(
        snapshot, target.options, target.coordinates, target.app, target.folder
    )


def _has_rows(
    held: IncarnationReader | TableReader, coordinates: Coordinates, partition: Partition
) -> bool:
    paths = scan.touching(held.files, coordinates, {partition: (None, None)})
    found = held.scan(paths).filter(coordinates.of(partition)).select(coordinates.identity)
    return bool(paths) and not found.head(1).collect().is_empty()


def refuse_rewound(
    snapshot: DeltaTable, target: DeltaTarget, positions: Mapping[Partition, Position]
) -> None:
    """Rows beyond a position are PositionLost: somebody put it back, and they would come twice.

    Asks the newest files that may hold such rows by their statistics. A partition's rows are
    written in its order, so its newest file is its witness.
    """
    reader = _reader(snapshot, target)
    files = reader.files.sort("modification_time")
    beyond = {p: (at, None) for p, at in positions.items()}
    suspicious = scan.touching(files, target.coordinates, beyond)
    if not suspicious:
        return
    held = reader.scan(suspicious[-MAX_FILES:])
    found = held.filter(target.coordinates.beyond(positions)).select(target.coordinates.identity)
    for source, partition, number, *_ in found.head(1).collect().iter_rows():
        at = positions[Partition(source, str(partition))]
        raise PositionLost(
            f"the position of {source}/{partition} in table {target.uri} is {at.number}, but the "
            f"table holds {number}: the position was moved back by another program",
            "put it back where it was; to read records again use: pinpip replay",
        )


def newest_arrivals(
    target: DeltaTarget, partitions: Collection[Partition]
) -> dict[Partition, datetime]:
    """Return when the newest row of each partition arrived at a stream; on Kinesis only."""
    newest = table.find(target.uri, target.options) if target.coordinates.sub else None
    if newest is None:
        return {}
    with table.sorted_errors(target.uri):
        found = {p: _newest_arrival(newest, target, p) for p in partitions}
    return {p: at for p, at in found.items() if at is not None}


def _newest_arrival(
    snapshot: DeltaTable, target: DeltaTarget, partition: Partition
) -> datetime | None:
    """Return when the newest row of `partition` in its newest files arrived."""
    reader = _reader(snapshot, target)
    files = reader.files.sort("modification_time")
    paths = scan.touching(files, target.coordinates, {partition: (None, None)})[-MAX_FILES:]
    if not paths:
        return None
    own = reader.scan(paths).filter(target.coordinates.of(partition))
    found: datetime | None = own.select(pl.col(TIME).max()).collect().item()
    return found


def refuse_another_pipeline(
    store: Store, target: DeltaTarget, log: CommitLog, own: Positions
) -> None:
    """Raise SinkError when the table belongs to another pipeline and is not taken over on purpose.

    A table has one pipeline, since rows and positions prove each other. A table without an owner
    is ours if it has a position of ours, in `own`; in tables of earlier versions the ledger's
    newest entries tell.
    """
    held = log.txn_version(OWNER)
    if target.begins or held == owner_mark(target.app) or (held is None and any(own.values())):
        return
    others = {pipeline_of(entry.app) for entry in history.newest(store, log.version)}
    others.discard(pipeline_of(target.app))
    if held is not None:
        named = [name for name in sorted(others) if owner_mark(f"pinpip/{name}/") == held]
        raise _refused(store, target.app, named[0] if named else "another pipeline")
    if others:
        raise _refused(store, target.app, min(others))


def _refused(store: Store, app: str, other: str) -> SinkError:
    own = pipeline_of(app)
    return SinkError(
        f"table {store.uri} belongs to {other}, not to {own}: two pipelines cannot share a table",
        f"name another table for {own} in config.yaml. Was the pipeline renamed? Give it its old "
        "name, or a new `incarnation` and start once with --new-incarnation",
    )
