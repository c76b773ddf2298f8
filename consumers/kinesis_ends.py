"""How far a Kinesis stream is beyond given positions, for verify."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from consumers.kinesis import KinesisSource
from consumers.kinesis_window import Window
from pinpip.batch import Partition, Positions
from pinpip.clock import Clock

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


class _Starter:
    """A listener that starts each shard at its position."""

    def __init__(self, source: KinesisSource, positions: Positions) -> None:
        self._source = source
        self._positions = positions

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Start them at once."""
        self._source.seek({p: self._positions.get(p) for p in partitions})

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Nothing is buffered."""


def newest_unread(
    client: "KinesisClient",
    stream: str,
    positions: Positions,
    older_than: datetime,
    clock: Clock,
) -> dict[Partition, int]:
    """Shards with records beyond their position that arrived before `older_than` (UTC).

    Each with at least how many: a shard is left at its first page that has some, and so are its
    children. A shard that `positions` does not name counts from its first record. Raises what
    KinesisSource raises.
    """
    unread: Counter[Partition] = Counter()
    source = KinesisSource(
        client,
        stream,
        clock=clock,
        window=Window(until=older_than),
        ours=lambda shards: [p for p in shards if p not in unread],
    )
    try:
        source.open(_Starter(source, positions))
        while not source.exhausted:
            records = source.poll(1.0)
            spans = records.spans if records is not None else {}
            unread.update({p: span.records for p, span in spans.items() if span.records})
    finally:
        source.close()
    return dict(unread)
