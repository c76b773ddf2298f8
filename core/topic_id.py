"""Which life of a log a position counts in: a topic that is created again counts from 0 anew.

Kafka gives every topic a random id (KIP-516, a version 4 UUID in URL-safe base64). An epoch is the
62 random bits at its end: as much as a Delta `txn` version, a signed 64-bit integer, can hold.

A stream of Kinesis has no id: its epoch is the time of its creation in milliseconds.

All sinks of a pipeline share one life: `Known` is what they know together.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from core.batch import KAFKA, Coordinates, Partition, Position
from core.errors import TopicRecreated

EPOCH_MASK = (1 << 62) - 1
_TAIL = 9
_AGAIN = (
    "set a new `incarnation` in config.yaml and start once with: pinpip consume PIPELINE"
    " --new-incarnation"
)


def epoch_of_text(identity: str) -> int:
    """Return the epoch of a log whose identity is a text."""
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]) & EPOCH_MASK


def spelled(epoch: int) -> str:
    """Return the end of the id as `kafka-topics.sh --describe` prints it."""
    return "…" + base64.urlsafe_b64encode(epoch.to_bytes(16)).decode().rstrip("=")[-_TAIL:]


@dataclass(frozen=True)
class Known:
    """What the sinks of a pipeline know of one partition.

    `start`: the position of the slowest sink, None when one holds nothing. `furthest`: that of the
    fastest, None when all hold nothing. Both carry the epoch that any of them knows. `empty` names
    the sinks that hold nothing while another does. `arrived`: when the newest record in the table
    arrived, as far as that must stand for an epoch that no sink knows. `origin`: where the pipeline
    began (Kafka: the first offset, Kinesis: the time in milliseconds), None where that is not kept.
    `tip`: when the partition was last read to its end (see `core.batch.Note`). `gaps`: what each
    sink has recorded last of offsets that expired and that the operator accepted to lose.
    """

    start: Position | None
    furthest: Position | None
    empty: tuple[str, ...] = ()
    arrived: datetime | None = None
    origin: Position | None = None
    tip: int | None = None
    gaps: tuple[range, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether one sink holds records that another must still get."""
        return self.start != self.furthest


def known(
    partition: Partition, held: Mapping[str, Position | None], coordinates: Coordinates = KAFKA
) -> Known:
    """Return what sinks at the positions `held`, by their names, know together.

    Raises TopicRecreated when two of them count in different lives.
    """
    positions = {name: at for name, at in held.items() if at is not None}
    lives = {at.epoch: name for name, at in positions.items() if at.epoch is not None}
    if len(lives) > 1:
        kind = kind_of(coordinates)
        each = " and ".join(f"the one {told(e, coordinates)} ({n})" for e, n in lives.items())
        raise TopicRecreated(
            f"the sinks hold {partition} of different {kind}s of that name: {each}",
            f"restore the wrong sink from a backup; to read the {kind} there now into the same"
            f" table {_AGAIN}",
        )
    epoch = next(iter(lives), None)
    found = sorted(replace(at, epoch=epoch) for at in positions.values())
    empty = tuple(name for name in held if name not in positions)
    if not found:
        return Known(None, None)
    return Known(None if empty else found[0], found[-1], empty)


def since(own: Known, origin: Position | None) -> Known:
    """Add that the pipeline began at `origin`: a sink there lacks no record."""
    at = own.furthest
    nothing = origin is not None and at is not None and at == origin
    return replace(own, origin=origin, empty=() if nothing else own.empty)


def refuse_another(
    partition: Partition,
    held: Position | None,
    found: int | None,
    coordinates: Coordinates = KAFKA,
) -> None:
    """Raise TopicRecreated when `held` counts in another life of its log than `found`."""
    if held is None or held.epoch is None or found is None or held.agrees(found):
        return
    number = "offset" if coordinates.sub is None else "sequence number"
    where = f"{number} {held.number} of {partition}"
    raise recreated(partition.source, held.epoch, found, coordinates, where)


def recreated(
    source: str, held: int, found: int, coordinates: Coordinates, where: str = "what was read"
) -> TopicRecreated:
    """Return the error for a source other than the one of which `where` was read."""
    kind = kind_of(coordinates)
    return TopicRecreated(
        f"{kind} {source} was deleted and created again: {where} belongs to the {kind}"
        f" {told(held, coordinates)}, the one there now is {told(found, coordinates)}",
        again(kind),
    )


def again(kind: str) -> str:
    """Return what to do about such a source."""
    return f"to read the new {kind} into the same table {_AGAIN}"


def kind_of(coordinates: Coordinates) -> str:
    """Return what such a source is called."""
    return "topic" if coordinates.sub is None else "stream"


def told(epoch: int, coordinates: Coordinates) -> str:
    """Describe an epoch in words."""
    if coordinates.sub is None:
        return f"with the id {spelled(epoch)}"
    try:
        moment = datetime.fromtimestamp(epoch / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # a table may hold any number
        moment = f"{epoch} ms of Unix time"
    return f"created at {moment}"
