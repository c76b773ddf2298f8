"""Where a shard begins of which the sinks hold nothing.

The time of the pipeline's first start is kept in the table: what expired before it was never the
pipeline's. With `latest` a shard without a position begins at that moment after a restart,
whatever became of its parents meanwhile.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Literal

from consumers.kinesis.life import milliseconds
from consumers.kinesis.shard import Begin
from consumers.kinesis.shards import Shard
from consumers.window import Window
from core.batch import Partition
from core.origins import Start
from core.topic_id import Known

From = Literal["trim_horizon", "latest"]


class Beginnings:
    """What `start` means in this process, or where `window` begins."""

    def __init__(self, start: From, window: Window | None) -> None:
        self._live = window is None
        self._latest = start == "latest" and self._live
        self._horizon: Begin = (window.since if window else None) or "TRIM_HORIZON"
        self._since: dict[str, int] = {}
        self._own_start: int | None = None
        self._first: frozenset[str] = frozenset()

    def starts(self, stream: str, shards: Collection[Shard], now: datetime) -> dict[str, Start]:
        """Return the stream at the pipeline's first start, if that moment must be kept.

        Its shards and their parents, of which the table may hold records though they have expired.
        """
        if not self._live:
            return {}
        self._first, self._own_start = frozenset(shard.id for shard in shards), milliseconds(now)
        names = self._first.union(*(shard.parents for shard in shards))
        begins = dict.fromkeys(Partition(stream, name) for name in sorted(names))
        return {stream: Start(begins, at_ms=self._own_start)}

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """Hear of the moment that the table keeps."""
        self._since |= {p.id: own.origin.number for p, own in known.items() if own.origin}

    def of(self, shard: Shard, *, follows: bool) -> Begin:
        """Where `shard` begins; `follows`: after a parent that this process reads."""
        if not self._latest or follows:
            return self._horizon
        since = self._since.get(shard.id)
        if since is None or (since == self._own_start and shard.id in self._first):
            return "LATEST"
        return datetime.fromtimestamp(since / 1000, UTC)
