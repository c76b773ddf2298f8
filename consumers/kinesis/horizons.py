"""How far the shards of one stream were read, and when: by GetRecords' MillisBehindLatest.

Kinesis does not tell where a shard ends. Emulators measure MillisBehindLatest from the shard's last
record, not from now, and round it to 0: beside it, the records' own arrival times decide.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from consumers.kinesis.shard import Cursor, Response
from consumers.kinesis.shards import Shard
from consumers.window import SKEW, TIME
from core.batch import Partition, Position
from core.observer import FOREVER, NEVER, Horizon

# AWS: a record can be read less than a second after its put was answered, typically.
PROPAGATION = timedelta(seconds=1)
_NOTHING_READ = Position(0)


class Horizons:
    """What the responses of `stream` told since `taken` was called; nothing unless it is `live`."""

    def __init__(self, stream: str, *, live: bool) -> None:
        self._stream, self._live = stream, live
        self._found: dict[Partition, Horizon] = {}
        self._ended: set[str] = set()

    def read(self, cursor: Cursor, response: Response) -> None:
        """Note the response that moved the cursor."""
        if not self._live:
            return
        found = Horizon(cursor.position or _NOTHING_READ, until_of(response))
        partition = self._of(cursor.shard.id)
        if found.until == NEVER:
            self._found.setdefault(partition, found)
        else:
            self._found[partition] = found

    def end(
        self, drained: set[str], shards: Mapping[str, Shard], cursors: Mapping[str, Cursor]
    ) -> None:
        """Note shards of which no record is left; a child that may be read is assigned by now.

        Only its children keep a pipeline without the shard from looking fresh.
        """
        for name in drained - self._ended if self._live else ():
            if any(name in shard.parents for shard in shards.values()):
                self._ended.add(name)
                at = cursors[name].position if name in cursors else None
                self._found[self._of(name)] = Horizon(at or _NOTHING_READ, FOREVER)

    def forget(self, partitions: Collection[Partition]) -> None:
        """Forget shards that are read again, or by another process."""
        for partition in partitions:
            self._ended.discard(partition.id)
            self._found.pop(partition, None)

    def taken(self) -> dict[Partition, Horizon]:
        """Return what was told since the last call."""
        found, self._found = self._found, {}
        return found

    def _of(self, shard: str) -> Partition:
        return Partition(self._stream, shard)


def until_of(response: Response) -> datetime:
    """Return the moment until which nothing arrived that comes after the response; NEVER: not told.

    What arrives once the shard is closed is its children's, of which nobody may have told yet. It
    was open when its last record arrived, or where it has no more records but goes on.
    """
    now, frame = response.asked - PROPAGATION, response.frame
    last: datetime | None = None if frame.is_empty() else frame.item(-1, TIME)
    if response.behind:
        now -= timedelta(milliseconds=response.behind)
        return (min(now, last) if last else now) - SKEW
    if response.full:
        return last - SKEW if last else NEVER
    if last is None:
        return NEVER if response.iterator is None else now
    return min(now, last)
