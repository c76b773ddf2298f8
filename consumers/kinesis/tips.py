"""Whether records of a shard may have expired unread: Kinesis does not tell, the table does.

The table keeps when each shard was last read to its end. What arrived later is still in the stream
while that moment is younger than the stream's retention: only beyond it records may have expired
unread. Kinesis tells neither whether nor how many: GetRecords goes on at the first record there is.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import structlog

from consumers.kinesis.life import StreamLife, milliseconds
from consumers.kinesis.shard import Cursor, Response
from consumers.kinesis.shards import Shard
from core.batch import READ_TO_END, Note, Partition
from core.clock import Clock
from core.errors import RecordsExpired
from core.topic_id import Known

EVERY = 3_600_000  # ms between two notes of one shard
MARGIN = timedelta(hours=1)  # clocks differ, and an answer takes time
_log = structlog.get_logger(__name__)


def may_have_expired(tip: int, retention: timedelta, now: datetime) -> bool:
    """Whether records that came after `tip` (ms since 1970) may have expired by `now`."""
    return tip < milliseconds(now - retention + MARGIN)


class Tips:
    """When each shard of `stream` was last read to its end; `accepting` passes over gaps.

    Only over those that are open now: one that opens later, in this process, was not accepted.
    Of a source that is not `live`, or was not told what the table keeps, nothing is kept.
    """

    def __init__(
        self, stream: str, life: StreamLife, clock: Clock, *, accepting: bool, live: bool
    ) -> None:
        self._live = live
        self._stream = stream
        self._life = life
        self._clock = clock
        self._accepted_at = clock.now() if accepting else None
        self._tips: dict[str, int] = {}
        self._inherited: dict[str, int] = {}
        self._noted: dict[str, int] = {}

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """Hear of what the table keeps; before its first start a pipeline missed nothing.

        What the table had read to the end, a slower sink may lack: then no moment is known. A sink
        that holds nothing goes by the table's moment: of a new shard it is its parents' end.
        """
        for name, own in ((p.id, own) for p, own in known.items() if self._live):
            begun = own.origin.number if own.origin else None
            is_late = own.differs and own.start is not None
            told = (None if is_late else own.tip, begun, self._inherited.get(name))
            self._tips[name] = max((tip for tip in told if tip is not None), default=0)
            self._noted[name] = own.tip or 0

    def gaps(self, cursor: Cursor, where: str) -> int:
        """How many gaps lie before what the cursor reads next: 0, or 1 that was accepted.

        To be asked when the record at its position was not there. Raises RecordsExpired.
        """
        name, now = cursor.shard.id, self._clock.now()
        tip = self._tips.get(name)
        if tip is None and cursor.position is not None:
            at = cursor.position.number
            _log.warning("records_may_have_expired", where=where, position=at)
        if tip is None or not may_have_expired(tip, self._life.retention, now):
            return 0
        accepted = self._accepted_at
        if accepted is None or not may_have_expired(tip, self._life.retention, accepted):
            raise self._expired(tip, where)
        _log.warning("accepted_expired_records", where=where, since=_told(tip))
        return 1

    def notes(
        self, cursor: Cursor, answer: Response, shards: Mapping[str, Shard], gaps: int
    ) -> dict[Partition, Note]:
        """Return what to keep of the cursor's shard, and of its children in `shards`."""
        if answer.iterator is None:
            return self.ended(cursor, shards, gaps)
        name, tip = cursor.shard.id, None
        if name in self._tips and not answer.behind and not shards[name].closed:
            now = self._tips[name] = milliseconds(self._clock.now())
            if now - self._noted[name] >= EVERY:
                tip = self._noted[name] = now
        return {self._of(name): Note(cursor.position, tip, gaps)} if tip or gaps else {}

    def expired(
        self, cursor: Cursor, shards: Mapping[str, Shard], where: str
    ) -> dict[Partition, Note]:
        """Return the same for a gone shard; RecordsExpired unless read to its end lately."""
        _log.warning("shard_expired_unread", where=where)
        return self.ended(cursor, shards, self.gaps(cursor, where))

    def ended(
        self, cursor: Cursor, shards: Mapping[str, Shard], gaps: int = 0
    ) -> dict[Partition, Note]:
        """Return the same for a shard of which no record is left to be read.

        Its children held nothing when it was last seen open.
        """
        name = cursor.shard.id
        if name not in self._tips:
            return {}
        tip, self._tips[name] = self._tips[name], READ_TO_END
        children = [child for child, shard in shards.items() if name in shard.parents]
        if 0 < tip < READ_TO_END:
            self._inherited |= {c: max(tip, self._inherited.get(c, 0)) for c in children}
        notes = {self._of(c): Note(None, at) for c in children if (at := self._inherited.get(c))}
        return notes | {self._of(name): Note(cursor.position, READ_TO_END, gaps)}

    def _of(self, shard: str) -> Partition:
        return Partition(self._stream, shard)

    def _expired(self, tip: int, where: str) -> RecordsExpired:
        hours = int(self._life.retention.total_seconds()) // 3600
        return RecordsExpired(
            f"{where}: records may have expired unread: the shard was last read to its end at"
            f" {_told(tip)}, and the stream keeps records for {hours} hours",
            "Kinesis does not tell whether there were any. To go on without them, named by verify"
            " for ever, start once with: pinpip consume PIPELINE --accept-gap",
        )


def _told(tip: int) -> str:
    return datetime.fromtimestamp(tip / 1000, UTC).isoformat(timespec="seconds")
