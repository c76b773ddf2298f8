"""Positions as Delta `txn` actions, and what the table stores beside them.

A version is a signed 64-bit integer. A Kafka offset fits; a Kinesis sequence number (186 bits
today) is split over 62-bit limbs, each a `txn` of the same commit. Limbs are not monotone, and an
engine that keeps the highest version of an id, against the protocol's "latest wins", would mix
two commits: a counter tells commits apart and a checksum over all parts proves they belong
together. Source: Delta transaction protocol, "Transaction Identifiers".

The version of the sub-sequence also has, above its lowest 40 bits, `Position.digits`: 0 in tables
of earlier versions, and wherever numbers have no leading zeros.

Beside a position, each an id below its own; tables without them are read as before:

- `epoch`: the identity of the topic or stream, written once.
- `expired`, `expired_from`, `expired_to`: how many offsets expired unread, as the operator
  accepted, and the newest gap. The ledger says when; this total lasts as long as the table.
- `left_out`, `unclaimed`: how many records the pipeline's `where` did not take, and how many of
  them no other pipeline took; in the clean table only.
- `tip`: when a shard was last read to its end, in milliseconds, or `READ_TO_END`.
- `gaps`: ranges of a shard of which records may have expired unread, as the operator accepted.

`pinpip/owner` is one per table: a digest of the name of the pipeline that the table belongs to.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from deltalake import Transaction

from core.batch import Coordinates, Note, Partition, Position
from core.errors import PositionLost
from sinks.delta.ledger import CommitRange, joined
from sinks.delta.target import DeltaTarget

OWNER = "pinpip/owner"
LIMBS = 4
_BITS = 62
_MASK = (1 << _BITS) - 1
_SUB_BITS = 40
_PARTS = [*(f"limb{i}" for i in range(LIMBS)), "sub", "counter", "checksum"]

Lookup = Callable[[str], int | None]


def app_id(app: str, partition: Partition) -> str:
    """Return the id of `partition`'s position; `app` names the pipeline and its incarnation."""
    return f"{app}/{partition.source}/{partition.id}"


def read_with_epoch(
    lookup: Lookup, app: str, partition: Partition, coordinates: Coordinates
) -> Position | None:
    """Return what `read` returns, with the epoch: it never changes within an incarnation."""
    position = read(lookup, app, partition, coordinates)
    if position is None:
        return None
    return replace(position, epoch=lookup(f"{app_id(app, partition)}/epoch"))


def read(
    lookup: Lookup, app: str, partition: Partition, coordinates: Coordinates
) -> Position | None:
    """Return the stored position, without its epoch; `lookup` returns the version of an app id.

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
    """Return the `txn` actions that store `position` under the app id `own`.

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


def write_epoch(own: str, value: int, now_ms: int) -> Transaction:
    """Return the `txn` action that stores an epoch beside the position `own`."""
    return Transaction(f"{own}/epoch", value, now_ms)


def moved(
    lookup: Lookup,
    app: str,
    held: Mapping[Partition, Position | None],
    moves: Mapping[Partition, Position],
    coordinates: Coordinates,
    now_ms: int,
) -> Iterator[Transaction]:
    """Yield the actions that move positions from `held`; an epoch is written once."""
    for partition, end in moves.items():
        own, before = app_id(app, partition), held[partition]
        yield from write(lookup, own, end, coordinates, now_ms)
        if end.epoch is not None and (before is None or before.epoch is None):
            yield write_epoch(own, end.epoch, now_ms)


def read_expired(lookup: Lookup, app: str, partition: Partition) -> int:
    """Return how many offsets of `partition` expired unread, as the operator accepted."""
    return lookup(f"{app_id(app, partition)}/expired") or 0


def read_gap(lookup: Lookup, app: str, partition: Partition) -> range:
    """Return the newest gap that the operator accepted; empty in tables that do not store it."""
    own = app_id(app, partition)
    first, stop = (lookup(f"{own}/{name}") for name in ("expired_from", "expired_to"))
    return range(0) if first is None or stop is None else range(first, stop)


def expired(
    lookup: Lookup,
    app: str,
    ranges: Iterable[CommitRange],
    gaps: Mapping[Partition, range],
    now_ms: int,
) -> Iterator[Transaction]:
    """Yield the actions that add what expired in `ranges` to the totals, with its newest gap."""
    for partition, count in {r.of: r.expired for r in ranges if r.expired}.items():
        own, gap = app_id(app, partition), gaps[partition]
        total = read_expired(lookup, app, partition) + count
        told = {"expired": total, "expired_from": gap.start, "expired_to": gap.stop}
        yield from (Transaction(f"{own}/{name}", value, now_ms) for name, value in told.items())


def read_left_out(lookup: Lookup, app: str, partition: Partition) -> tuple[int, int]:
    """Return how many records of `partition` were left out by `where`, and unclaimed of them."""
    own = app_id(app, partition)
    return lookup(f"{own}/left_out") or 0, lookup(f"{own}/unclaimed") or 0


def left_out(
    lookup: Lookup, target: DeltaTarget, ranges: Iterable[CommitRange], now_ms: int
) -> Iterator[Transaction]:
    """Yield the actions that add what `where` left out of `ranges`; the clean table's alone."""
    for r in joined(ranges if target.stage == "clean" else ()):
        own, before = app_id(target.app, r.of), read_left_out(lookup, target.app, r.of)
        told = {"left_out": r.left_out, "unclaimed": r.unclaimed}
        for (name, count), total in zip(told.items(), before, strict=True):
            if count:
                yield Transaction(f"{own}/{name}", total + count, now_ms)


def tip(lookup: Lookup, app: str, partition: Partition) -> int | None:
    """Return when the partition was last read to its end; None when the table does not say."""
    return lookup(f"{app_id(app, partition)}/tip")


def accepted_gaps(lookup: Lookup, app: str, partition: Partition) -> int:
    """Return how many ranges of the partition may have expired unread."""
    return lookup(f"{app_id(app, partition)}/gaps") or 0


def gapped(app_ids: Iterable[str], app: str) -> set[Partition]:
    """Return the partitions of which one of `app_ids` counts gaps."""
    own = (name.removeprefix(f"{app}/") for name in app_ids if name.startswith(f"{app}/"))
    named = (name.removesuffix("/gaps").rsplit("/", 1) for name in own if name.endswith("/gaps"))
    return {Partition(source, id_) for source, id_ in named}


def partitions(app_ids: Iterable[str], app: str) -> set[Partition]:
    """Return the partitions of which one of `app_ids` stores something."""
    own = (name.removeprefix(f"{app}/") for name in app_ids if name.startswith(f"{app}/"))
    return {Partition(*parts[:2]) for name in own if len(parts := name.split("/")) > 1}


def noted(
    lookup: Lookup, app: str, notes: Mapping[Partition, Note], now_ms: int
) -> Iterator[Transaction]:
    """Yield the actions that store `notes`: a tip only grows, and gaps add up."""
    for partition, note in notes.items():
        own = app_id(app, partition)
        if note.tip is not None:
            newest = max(note.tip, tip(lookup, app, partition) or 0)
            yield Transaction(f"{own}/tip", newest, now_ms)
        if note.accepted_gaps:
            total = accepted_gaps(lookup, app, partition) + note.accepted_gaps
            yield Transaction(f"{own}/gaps", total, now_ms)


def kept(
    notes: Mapping[Partition, Note], seen: Mapping[Partition, Position | None]
) -> Mapping[Partition, Note]:
    """Return the notes of a reader that is not behind a sink that has `seen` so much."""
    return {p: note for p, note in notes.items() if not _is_behind(note.position, seen.get(p))}


def _is_behind(position: Position | None, seen: Position | None) -> bool:
    return position is not None and seen is not None and position < seen


def pipeline_of(app: str) -> str:
    """Return the name in `pinpip/<pipeline>/<incarnation>`."""
    return app.split("/")[1]


def owner_mark(app: str) -> int:
    """Return the digest of the pipeline that stores its positions under `app`."""
    digest = hashlib.sha256(pipeline_of(app).encode()).digest()
    return int.from_bytes(digest[:8]) >> (64 - _BITS)


def is_owned(lookup: Lookup, app: str) -> bool:
    """Return whether the table names the pipeline of `app` as its owner."""
    return lookup(OWNER) == owner_mark(app)


def owned(lookup: Lookup, app: str, now_ms: int) -> Iterator[Transaction]:
    """Yield the action that makes the pipeline of `app` the owner, unless it is."""
    if not is_owned(lookup, app):
        yield Transaction(OWNER, owner_mark(app), now_ms)
