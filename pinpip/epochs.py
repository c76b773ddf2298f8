"""Which life of a log a position counts in: a topic that is created again counts from 0 anew.

Kafka gives every topic a random id (KIP-516, a version 4 UUID in URL-safe base64). An epoch is the
62 random bits at its end: as much as a Delta `txn` version, a signed 64-bit integer, can hold.
"""

import base64

from pinpip.batch import Partition, Position
from pinpip.errors import TopicRecreated

_BITS = 62
_TAIL = 9


def epoch_of(most: int, least: int) -> int | None:
    """The epoch of the id with these (signed) halves; None for the id of a topic without one."""
    return least & ((1 << _BITS) - 1) if most or least else None


def spelled(epoch: int) -> str:
    """The end of the id as `kafka-topics.sh --describe` prints it."""
    return "…" + base64.urlsafe_b64encode(epoch.to_bytes(16)).decode().rstrip("=")[-_TAIL:]


def refuse_another(partition: Partition, held: Position | None, found: int | None) -> None:
    """Raise TopicRecreated when `held` counts in another life of its log than `found`."""
    if held is None or held.epoch is None or found is None or held.epoch == found:
        return
    raise TopicRecreated(
        f"topic {partition.source} was deleted and created again: offset {held.number} of"
        f" {partition} belongs to the topic with the id {spelled(held.epoch)}, the one there now is"
        f" {spelled(found)}",
        "to read the new topic into the same table set a new `incarnation` in config.yaml and start"
        " once with: pinpip consume PIPELINE --new-incarnation",
    )
