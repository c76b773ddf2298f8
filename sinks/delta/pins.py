"""The commit that fixes where a pipeline begins to read a topic or stream, once and for all of it.

`first:<app>/<source>`: the time of the first start in milliseconds; `epoch:<app>/<source>`: which
life of the source it was. `<app>/<source>/<partition>/first`: the first offset where it is not 0;
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
from sinks.delta import deltalog, ledger, notes, owner, position_checks, table, transactions, txns
from sinks.delta.deltalog import Log
from sinks.delta.setup import Setup
from sinks.delta.target import Target
from sinks.delta.transactions import Lookup
from sinks.storage.protocol import Store

_TRIES = 20  # each after another writer's commit


def origins(
    lookup: Lookup, target: Target, partitions: Collection[Partition]
) -> dict[Partition, Position]:
    """Where these partitions began; those of a source that was never pinned are left out.

    Kafka: the first offset. Kinesis: the time of the first start in milliseconds.
    """
    found = {p: origin(lookup, target.app, p, target.coordinates) for p in partitions}
    return {p: at for p, at in found.items() if at is not None}


def origin(
    lookup: Lookup, app: str, partition: Partition, coordinates: Coordinates
) -> Position | None:
    """Where one partition began; None: its source was never pinned."""
    since = lookup(_first(app, partition.source))
    if since is None:
        return None
    epoch = lookup(_epoch(app, partition.source))
    if coordinates.sub is not None:
        return Position(since, epoch=epoch)
    return Position(lookup(f"{transactions.app_id(app, partition)}/first") or 0, epoch=epoch)


def begin(
    lookup: Lookup, app: str, partition: Partition, coordinates: Coordinates
) -> Position | None:
    """The offset from which on all rows must be there; None where nobody knows it."""
    if coordinates.sub is not None or lookup(_open(app, partition)) is not None:
        return None
    return origin(lookup, app, partition, coordinates)


def _open(app: str, partition: Partition) -> str:
    return f"{transactions.app_id(app, partition)}/open"


def _first(app: str, source: str) -> str:
    return f"first:{app}/{source}"


def _epoch(app: str, source: str) -> str:
    return f"epoch:{app}/{source}"


def pin(
    target: Target,
    store: Store,
    setup: Setup,
    opened: Callable[[], DeltaTable],
    starts: Mapping[str, Start],
    now_ms: int,
) -> None:
    """Commit where the sources begin, unless that is fixed: StalePosition.

    What is decided upon is read from one version of the table, and committed as the next one.
    Raises PositionLost as `DeltaSink.positions`, TopicRecreated when the table counts in another
    life.
    """
    if target.stage != "clean":
        return
    for _ in range(_TRIES):
        found = opened()
        setup.learn(found)
        log = Log(store, found.version())
        lookup = log.learning(txns.versions(found, target.options))
        with table.sorted_errors(target.uri):
            lookup(owner.ID)
            held = {s: _held(target, found, lookup, start) for s, start in starts.items()}
            for positions in held.values():
                owner.refuse_another(store, target, log, positions)
            entry = list(_entry(target, setup, found, lookup, starts, held, now_ms))
        if log.append(entry) is entry:
            setup.done()
            return
    raise TransientError(f"{target.uri}: other writers were faster {_TRIES} times")


def _entry(
    target: Target,
    setup: Setup,
    found: DeltaTable,
    lookup: Lookup,
    starts: Mapping[str, Start],
    held: Mapping[str, Mapping[Partition, Position | None]],
    now_ms: int,
) -> Iterator[deltalog.Action]:
    ranges: list[ledger.Range] = []
    moved: list[Transaction] = []
    for source, start in starts.items():
        first = _first(target.app, source)
        if lookup(first) is not None:
            raise StalePosition(f"{target.uri}: another member fixed where {source} begins")
        before = held[source]
        pins = pinned(start, before)
        moved.append(Transaction(first, _moment(found, start, before, now_ms), now_ms))
        if start.epoch is not None:
            moved.append(Transaction(_epoch(target.app, source), start.epoch, now_ms))
        c = target.coordinates
        moved += transactions.moved(lookup, target.app, before, pins.positions, c, now_ms)
        moved += _tips(target, found, lookup, before, now_ms)
        ranges += [_range(p, position) for p, position in pins.positions.items()]
        moved += [
            Transaction(f"{transactions.app_id(target.app, p)}/first", at.number, now_ms)
            for p, at in pins.firsts.items()
            if at.number
        ]
        moved += [Transaction(_open(target.app, p), 1, now_ms) for p in sorted(pins.open)]
    moved += owner.claim(lookup, target.app, now_ms)
    moved += setup.begun(now_ms)
    said = ledger.Entry(app=target.app, version=__version__, event_time=None, ranges=tuple(ranges))
    told = {ledger.KEY: ledger.encode(said)}
    yield deltalog.commit_info(told, f"pinpip/{__version__}", now_ms)
    yield from setup.actions
    yield from map(deltalog.txn, moved)


def _held(
    target: Target, found: DeltaTable, lookup: Lookup, start: Start
) -> dict[Partition, Position | None]:
    """The table's positions in the source; those of another life, or lost ones, are refused."""
    c = target.coordinates
    held = {p: transactions.read_with_epoch(lookup, target.app, p, c) for p in start.begins}
    for partition, position in held.items():
        refuse_another(partition, position, start.epoch, c)
    lost = [p for p, position in held.items() if position is None]
    begun = target.begins or lookup(target.app) is not None
    position_checks.refuse_lost(found, target, lost, begun=begun)
    return held


def _moment(
    found: DeltaTable, start: Start, held: Mapping[Partition, Position | None], now_ms: int
) -> int:
    """The first start: now, or when the table was made if its positions are of before."""
    made = found.metadata().created_time
    if any(position is not None for position in held.values()) and made is not None:
        return int(made)
    return now_ms if start.at_ms is None else start.at_ms


def _tips(
    target: Target,
    found: DeltaTable,
    lookup: Lookup,
    held: Mapping[Partition, Position | None],
    now_ms: int,
) -> Iterator[Transaction]:
    """For the shards of a table of before: its last commit stands for when they were last read."""
    if target.coordinates.sub is None or not any(held.values()):
        return
    at = txns.written_at(txns.read(found, target.options), target.app)
    told = {p: Note(position, tip=at) for p, position in held.items()}
    yield from notes.written(lookup, target.app, told, now_ms)


def _range(partition: Partition, position: Position) -> ledger.Range:
    """No record was read, and the position is here."""
    return ledger.Range(
        source=partition.source,
        partition=partition.id,
        start=None,
        end=position,
        read=0,
        clean=0,
        quarantined=0,
    )
