"""How far a Kinesis stream is beyond given positions, for verify.

Each shard is read by itself, from its position to its end: the end is where GetRecords gives
nothing and says that the tip is 0 ms away, or where a closed shard gives no next iterator. Parents
are not waited for. Protocol: Kinesis Data Streams API, GetRecords, MillisBehindLatest.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import polars as pl
from botocore.exceptions import BotoCoreError, ClientError

from consumers.kinesis import faults
from consumers.kinesis.calls import MAX_CALLS, SPACING
from consumers.kinesis.life import StreamLife, created
from consumers.kinesis.shard import Begin, Cursor, Response, get_records
from consumers.kinesis.shards import Shard, list_shards
from consumers.kinesis.tips import may_have_expired
from consumers.window import SKEW, TIME
from core.batch import KINESIS, READ_TO_END, Partition, Positions
from core.clock import Clock
from core.errors import RecordsExpired, SourceError
from core.topic_id import refuse_another

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

ANSWER_TIMEOUT_S = 30.0  # seconds in which a shard must give an answer
_PAUSE = 1.0
T = TypeVar("T")
Tip = Callable[[Partition], int | None]


@dataclass(frozen=True)
class End:
    """What one shard holds beyond its position.

    `unread`: at least so many records that arrived before the given time; `young`: so many later
    ones. `wrong`: why the position is not one of this shard. `doubt`: why there may be more.
    """

    unread: int = 0
    young: int = 0
    wrong: str = ""
    doubt: str = ""


def ends_beyond(
    client: "KinesisClient",
    stream: str,
    positions: Positions,
    older_than: datetime,
    clock: Clock,
    tip: Tip = lambda _: None,
    *,
    latest: bool = False,
) -> dict[Partition, End]:
    """Find what the shards of `stream`, and those in `positions`, hold beyond their positions.

    A shard without a position counts from its first record; with `latest` from when it was last
    read to its end, if that is told, or else the child of one that has a position from its first.
    `tip`: when a shard was last read to its end, or the pipeline began, in milliseconds. Raises
    SourceError when the shards cannot be listed, TopicRecreated when a position counts in another
    stream of that name.
    """
    life = StreamLife(client, stream, clock)
    life.confirmed(0.0)
    for partition, at in positions.items():
        refuse_another(partition, at, life.epoch, KINESIS)
    shards = _retried(lambda: list_shards(client, stream), clock, f"stream {stream}")
    known = {p.id for p, at in positions.items() if p.source == stream and at is not None}

    def look(shard: Shard) -> End:
        position = positions.get(Partition(stream, shard.id))
        since = _since(stream, shard, tip)
        begin: Begin = "TRIM_HORIZON"
        if position is None and latest and not shard.parents & known:
            if since is None:
                return End(doubt="no position yet, and `start` is latest: where it began")
            begin = datetime.fromtimestamp(since / 1000, UTC)
        cursor = Cursor(shard, begin, position)
        kept = position is None
        if since is not None:
            kept = not may_have_expired(since, life.retention, clock.now())
        try:
            return _Look(client, stream, cursor, older_than, clock, kept).end()
        except RecordsExpired as error:
            return End(wrong=error.message)
        except SourceError as error:
            return End(doubt=f"{error.message}: whether there are unread records")

    with ThreadPoolExecutor(MAX_CALLS) as pool:
        found = list(pool.map(look, shards.values()))
    ends = {Partition(stream, s.id): end for s, end in zip(shards.values(), found, strict=True)}
    gone = [Partition(stream, name) for name in _unfinished(shards, known)]
    return ends | {p: _expired() for p in gone if tip(p) != READ_TO_END}


def _since(stream: str, shard: Shard, tip: Tip) -> int | None:
    """Since when records of the shard may be unread; it began after its parents were seen open."""
    tips = [tip(Partition(stream, name)) for name in (shard.id, *shard.parents)]
    open_ = [at for at in tips[1:] if at != READ_TO_END]
    return max((at for at in [tips[0], *open_] if at is not None), default=None)


def epoch_now(client: "KinesisClient", stream: str, clock: Clock) -> int | None:
    """When the stream was created, in milliseconds; None where Kinesis does not tell."""
    try:
        return _retried(lambda: created(client, stream), clock, f"stream {stream}")
    except SourceError:
        return None


def _unfinished(shards: Mapping[str, Shard], known: set[str]) -> set[str]:
    """Shards that are no longer listed, of which nothing shows that they were read to the end.

    A child is read after its parents' end.
    """
    gone = known - shards.keys()
    begun = {parent for s in shards.values() if s.id in known for parent in s.parents}
    waiting = {parent for s in shards.values() if s.id not in known for parent in s.parents}
    went_on = bool(known & shards.keys())
    return {name for name in gone - begun if name in waiting or not went_on}


def _expired() -> End:
    return End(doubt="the shard expired: whether it was read to its end")


@dataclass(frozen=True)
class _Look:
    client: "KinesisClient"
    stream: str
    cursor: Cursor
    older_than: datetime
    clock: Clock
    kept: bool

    def end(self) -> End:
        """Read from the position until something unread, or the end, is there."""
        cursor, young, met = self.cursor, 0, False
        while True:
            answer = self._answer(cursor)
            met = met or self._meets(answer.frame)
            rows = answer.frame.filter(KINESIS.unread(cursor.position))
            old = int((rows[TIME] < self.older_than).sum())
            young += rows.height - old
            if old or self._is_over(answer):
                break
            cursor.iterator = answer.iterator
            self.clock.sleep(SPACING)
        return End(old, young) if met else self._unmet(old, young)

    def _answer(self, cursor: Cursor) -> Response:
        def call() -> Response:
            return get_records(self.client, self.stream, cursor, self.clock.now())

        def again() -> None:
            cursor.iterator = None  # it may have expired

        return _retried(call, self.clock, f"stream {self.stream}, {cursor.shard.id}", again)

    def _meets(self, frame: pl.DataFrame) -> bool:
        """Whether the record at the position is there: then none after it has expired."""
        at = self.cursor.position
        return at is not None and KINESIS.column_value(at) in frame[KINESIS.number]

    def _is_over(self, answer: Response) -> bool:
        """Whether nothing follows `answer`, or what follows is too young to be looked for."""
        if answer.iterator is None:
            return True
        if answer.frame.is_empty():
            return not answer.behind
        last: datetime = answer.frame.item(-1, TIME)
        return last >= self.older_than + SKEW

    def _unmet(self, old: int, young: int) -> End:
        """No record at the position is in the shard: it expired, or never was."""
        if self._has_earlier():
            wrong = "the shard has earlier records, but not the one at the table's position"
            return End(old, young, wrong=f"{wrong}: it is another stream")
        doubt = "it was last read to its end longer ago than records are kept: whether some expired"
        return End(old, young, doubt="" if self.kept else f"{doubt} unread")

    def _has_earlier(self) -> bool:
        at = self.cursor.position
        if at is None:
            return False
        first = self._answer(Cursor(self.cursor.shard, "TRIM_HORIZON", None)).frame
        return not first.filter(~KINESIS.unread(at)).is_empty()


def _retried(
    call: Callable[[], T], clock: Clock, where: str, again: Callable[[], None] = lambda: None
) -> T:
    """Return what `call` answers in time; `again` is called before each further try.

    Raises RecordsExpired when Kinesis does not know a position, SourceError for what lasts.
    """
    deadline = clock.monotonic() + ANSWER_TIMEOUT_S
    while True:
        try:
            return call()
        except (BotoCoreError, ClientError) as error:
            if faults.is_unknown_position(error):
                raise faults.position_lost(error, where) from error
            if not faults.is_passing(error) or clock.monotonic() >= deadline:
                raise faults.explain(error, where) from error
            again()
            clock.sleep(_PAUSE)
