"""The commit that fixes where a pipeline begins to read a topic or stream, once and for all of it.

`first:<app>/<source>`: the time of the first start in milliseconds; `epoch:<app>/<source>`: the
identity of the source then. `<app>/<source>/<partition>/first`: the first offset where it is not 0;
`…/open`: the partition was read before that was kept, and may have begun at a later offset.
All are `txn` actions, so that they outlive the log. Tables without them are read as before.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

from deltalake import DeltaTable, Transaction

from core import __version__
from core.batch import Coordinates, Note, Partition, Position
from core.errors import StalePosition, TransientError
from core.origins import Start, pinned
from core.topic_id import refuse_another
from sinks.delta import ledger, position_checks, positions, table, txns
from sinks.delta.commit_log import CommitLog, Committed, Version
from sinks.delta.ledger import CommitRange
from sinks.delta.log import DeltaLog
from sinks.delta.positions import Lookup
from sinks.delta.setup import Setup
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store

_MAX_TRIES = 20  # after conflicts


def origins(
    lookup: Lookup, target: DeltaTarget, partitions: Collection[Partition]
) -> dict[Partition, Position]:
    """Return where these partitions began; those of a source that was never pinned are left out.

    Kafka: the first offset. Kinesis: the time of the first start in milliseconds.
    """
    found = {p: origin(lookup, target.app, p, target.coordinates) for p in partitions}
    return {p: at for p, at in found.items() if at is not None}


def origin(
    lookup: Lookup, app: str, partition: Partition, coordinates: Coordinates
) -> Position | None:
    """Return where one partition began; None: its source was never pinned."""
    since = lookup(_first(app, partition.source))
    if since is None:
        return None
    epoch = lookup(_epoch(app, partition.source))
    if coordinates.sub is not None:
        return Position(since, epoch=epoch)
    return Position(lookup(f"{positions.app_id(app, partition)}/first") or 0, epoch=epoch)


def begin(
    lookup: Lookup, app: str, partition: Partition, coordinates: Coordinates
) -> Position | None:
    """Return the offset from which on all rows must be there; None where nobody knows it."""
    if coordinates.sub is not None or lookup(_open(app, partition)) is not None:
        return None
    return origin(lookup, app, partition, coordinates)


def _open(app: str, partition: Partition) -> str:
    return f"{positions.app_id(app, partition)}/open"


def _first(app: str, source: str) -> str:
    return f"first:{app}/{source}"


def _epoch(app: str, source: str) -> str:
    return f"epoch:{app}/{source}"


def pin(
    target: DeltaTarget,
    store: Store,
    setup: Setup,
    opened: Callable[[], DeltaTable],
    starts: Mapping[str, Start],
    now_ms: int,
) -> None:
    """Commit where the sources begin; StalePosition if another member did.

    The decision is made on one version of the table, and committed as the next one. Raises
    PositionLost as `DeltaSink.positions`, TopicRecreated when the table has another epoch.
    """
    if target.stage != "clean":
        return
    for _ in range(_MAX_TRIES):
        found = opened()
        setup.learn(found)
        log = DeltaLog(store, found.version(), txns.versions(found, target.options))
        with table.sorted_errors(target.uri):
            held = {s: _held(target, found, log, start) for s, start in starts.items()}
            for own in held.values():
                position_checks.refuse_another_pipeline(store, target, log, own)
            entry = _entry(target, setup, found, log, starts, held, now_ms)
        if isinstance(log.append(entry), Committed):
            setup.done()
            return
    raise TransientError(f"{target.uri}: other writers were faster {_MAX_TRIES} times")


def _entry(
    target: DeltaTarget,
    setup: Setup,
    found: DeltaTable,
    log: CommitLog,
    starts: Mapping[str, Start],
    held: Mapping[str, Mapping[Partition, Position | None]],
    now_ms: int,
) -> Version:
    """Return the version that pins `starts`; the table `found` has the positions `held`."""
    lookup, app, c = log.txn_version, target.app, target.coordinates
    ranges: list[CommitRange] = []
    moved: list[Transaction] = []
    for source, start in starts.items():
        first = _first(app, source)
        if lookup(first) is not None:
            raise StalePosition(f"{target.uri}: another member fixed where {source} begins")
        before = held[source]
        pins = pinned(start, before)
        moved.append(Transaction(first, _moment(found, start, before, now_ms), now_ms))
        if start.epoch is not None:
            moved.append(Transaction(_epoch(app, source), start.epoch, now_ms))
        moved += positions.moved(lookup, app, before, pins.positions, c, now_ms)
        moved += _tips(target, found, lookup, before, now_ms)
        ranges += [_range(p, position) for p, position in pins.positions.items()]
        moved += [
            Transaction(f"{positions.app_id(app, p)}/first", at.number, now_ms)
            for p, at in pins.firsts.items()
            if at.number
        ]
        moved += [Transaction(_open(app, p), 1, now_ms) for p in sorted(pins.open)]
    moved += positions.owned(lookup, app, now_ms)
    said = ledger.Entry(
        app=app, version=__version__, event_time=None, ranges=tuple(ranges), where=target.where
    )
    return Version(ledger.encode(said), now_ms, [*moved, *setup.begun], (), setup.metadata)


def _held(
    target: DeltaTarget, found: DeltaTable, log: CommitLog, start: Start
) -> dict[Partition, Position | None]:
    """Read the table's positions in the source; refuse lost ones, and those of another epoch."""
    lookup, c = log.txn_version, target.coordinates
    held = {p: positions.read_with_epoch(lookup, target.app, p, c) for p in start.begins}
    for partition, position in held.items():
        refuse_another(partition, position, start.epoch, c)
    lost = [p for p, position in held.items() if position is None]
    begun = target.begins or lookup(target.app) is not None
    position_checks.refuse_lost(found, target, lost, begun=begun)
    return held


def _moment(
    found: DeltaTable, start: Start, held: Mapping[Partition, Position | None], now_ms: int
) -> int:
    """Return the time of the first start; of a table with earlier positions, its creation."""
    made = found.metadata().created_time
    if any(position is not None for position in held.values()) and made is not None:
        return int(made)
    return now_ms if start.at_ms is None else start.at_ms


def _tips(
    target: DeltaTarget,
    found: DeltaTable,
    lookup: Lookup,
    held: Mapping[Partition, Position | None],
    now_ms: int,
) -> Iterator[Transaction]:
    """Yield the tips of shards that have none: the time of the table's last commit."""
    if target.coordinates.sub is None or not any(held.values()):
        return
    at = txns.written_at(txns.read(found, target.options), target.app)
    told = {p: Note(position, tip=at) for p, position in held.items()}
    yield from positions.noted(lookup, target.app, told, now_ms)


def _range(partition: Partition, position: Position) -> CommitRange:
    """Return a range without records that ends at the position."""
    return CommitRange(
        source=partition.source,
        partition=partition.id,
        start=None,
        end=position,
        read=0,
        clean=0,
        quarantined=0,
    )
