"""Positions as Delta `txn` actions.

A version is a signed 64-bit integer. A Kafka offset fits; a Kinesis sequence number (186 bits
today) is split over 62-bit limbs, each a `txn` of the same commit. Limbs are not monotone, and an
engine that keeps the highest version of an id, against the protocol's "latest wins", would mix
two commits: a counter tells commits apart and a checksum over all parts proves they belong
together. Source: Delta transaction protocol, "Transaction Identifiers".

The sub-sequence's version also holds, above its lowest 40 bits, `Position.digits`: 0 in tables of
before, and wherever numbers have no leading zeros.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from deltalake import Transaction

from core.batch import Coordinates, Partition, Position
from core.errors import PositionLost

LIMBS = 4
_BITS = 62
_MASK = (1 << _BITS) - 1
_SUB_BITS = 40
_PARTS = [*(f"limb{i}" for i in range(LIMBS)), "sub", "counter", "checksum"]

Lookup = Callable[[str], int | None]


def app_id(app: str, partition: Partition) -> str:
    """The id of `partition`'s position; `app` names the pipeline and its incarnation."""
    return f"{app}/{partition.source}/{partition.id}"


def read_with_epoch(
    lookup: Lookup, app: str, partition: Partition, coordinates: Coordinates
) -> Position | None:
    """As `read`, with the epoch, which costs a look into the whole log more.

    An epoch never changes within an incarnation.
    """
    position = read(lookup, app, partition, coordinates)
    if position is None:
        return None
    return replace(position, epoch=lookup(f"{app_id(app, partition)}/epoch"))


def write_epoch(own: str, value: int, now_ms: int) -> Transaction:
    """The `txn` action that stores an epoch beside the position `own`."""
    return Transaction(f"{own}/epoch", value, now_ms)


def moved(
    lookup: Lookup,
    app: str,
    held: Mapping[Partition, Position | None],
    moves: Mapping[Partition, Position],
    coordinates: Coordinates,
    now_ms: int,
) -> Iterator[Transaction]:
    """The actions that move positions from `held`; an epoch is written once, when it is learnt."""
    for partition, end in moves.items():
        own, before = app_id(app, partition), held[partition]
        yield from write(lookup, own, end, coordinates, now_ms)
        if end.epoch is not None and (before is None or before.epoch is None):
            yield write_epoch(own, end.epoch, now_ms)


def read_expired(lookup: Lookup, app: str, partition: Partition) -> int:
    """How many offsets of `partition` expired unread, as the operator accepted.

    The ledger says when, as long as the log lasts; this total lasts as long as the table.
    """
    return lookup(f"{app_id(app, partition)}/expired") or 0


def read_gap(lookup: Lookup, app: str, partition: Partition) -> range:
    """The newest gap that the operator accepted; empty in tables that do not keep it."""
    own = app_id(app, partition)
    first, stop = (lookup(f"{own}/{name}") for name in ("expired_from", "expired_to"))
    return range(0) if first is None or stop is None else range(first, stop)


def write_expired(
    lookup: Lookup, app: str, partition: Partition, more: int, gap: range, now_ms: int
) -> Iterator[Transaction]:
    """The `txn` actions that add `more` to what expired unread, and keep the newest gap."""
    own, total = app_id(app, partition), read_expired(lookup, app, partition) + more
    told = {"expired": total, "expired_from": gap.start, "expired_to": gap.stop}
    return (Transaction(f"{own}/{name}", value, now_ms) for name, value in told.items())


def read(
    lookup: Lookup, app: str, partition: Partition, coordinates: Coordinates
) -> Position | None:
    """The stored position, without its epoch; `lookup` answers the version of an app id.

    Raises PositionLost when the parts of a Kinesis position do not belong together.
    """
    own = app_id(app, partition)
    if coordinates.sub is None:
        offset = lookup(own)
        return None if offset is None else Position(offset)
    parts = [lookup(f"{own}/{part}") for part in _PARTS]
    if all(part is None for part in parts):
        return None
    values = [-1 if part is None else part for part in parts]
    if _checksum(values[:-1]) != values[-1]:
        raise PositionLost(
            f"the position of {partition} ({own}) is damaged: its parts are of different commits",
            "another engine rewrote the table's checkpoint; restore an earlier version of it",
        )
    number = sum(limb << (_BITS * i) for i, limb in enumerate(values[:LIMBS]))
    digits, sub = divmod(values[LIMBS], 1 << _SUB_BITS)
    return Position(number, sub, digits=digits)


def write(
    lookup: Lookup,
    own: str,
    position: Position,
    coordinates: Coordinates,
    now_ms: int,
) -> list[Transaction]:
    """The `txn` actions that store `position` under the app id `own`.

    `last_updated` is always given: Spark's checkpoints drop ids without it.
    """
    if coordinates.sub is None:
        return [Transaction(own, position.number, now_ms)]
    counter = lookup(f"{own}/counter") or 0
    limbs = [(position.number >> (_BITS * i)) & _MASK for i in range(LIMBS)]
    values = [*limbs, position.sub + (position.digits << _SUB_BITS), counter + 1]
    values.append(_checksum(values))
    named = zip(_PARTS, values, strict=True)
    return [Transaction(f"{own}/{part}", value, now_ms) for part, value in named]


def _checksum(values: list[int]) -> int:
    digest = hashlib.sha256(",".join(map(str, values)).encode()).digest()
    return int.from_bytes(digest[:8]) & _MASK
