"""The Kinesis source: all shards of one stream, parents before their children.

Protocol: Kinesis Data Streams API, GetRecords: five calls per second and shard at most. An iterator
lives five minutes, so the position is the state and an iterator is made anew from it.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from consumers.kinesis import faults
from consumers.kinesis.begins import Beginnings, From
from consumers.kinesis.calls import IDLE_SPACING, SPACING, Calls
from consumers.kinesis.horizons import Horizons
from consumers.kinesis.life import FRESH, StreamLife
from consumers.kinesis.listing import Listing
from consumers.kinesis.shard import Cursor, Response, noted
from consumers.kinesis.shards import Ownership, Shard, every_shard, readable
from consumers.kinesis.tips import Tips
from consumers.window import Window
from core.batch import KINESIS, Partition, Position, Positions, Records, Span
from core.clock import Clock
from core.merge import merge
from core.observer import Horizon
from core.origins import Start
from core.protocols import Listener
from core.retry import Backoff, Outage
from core.topic_id import Known

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


class KinesisSource:
    """A core.protocols.Source that reads all shards of `stream`.

    `client`: a boto3 Kinesis client, best made with `CLIENT_CONFIG`. `start`: where a shard begins
    that the sinks know nothing of; a child of a shard that was read always begins at its first
    record. `memory`: bytes that answers not yet handed over may hold. `window` makes the source
    bounded. `ours` answers which shards this process reads. `outage` hears of transient faults,
    which are waited for as long as they last. `accept_gap` as in `consumers.kinesis.tips`.
    `until_end`: exhausted when it has read what arrived before it was opened, children included.
    So many `readers` share a shard's five calls and 2 MB a second.

    Raises SourceError when the stream cannot be read as configured, RecordsExpired when records may
    have expired or Kinesis does not know a position, TopicRecreated for another stream of its name.
    """

    coordinates = KINESIS

    def __init__(  # noqa: PLR0913  # two are needed
        self,
        client: "KinesisClient",
        stream: str,
        *,
        clock: Clock,
        start: From = "trim_horizon",
        memory: int = 64 * 1024 * 1024,
        window: Window | None = None,
        ours: Ownership = every_shard,
        outage: Outage | None = None,
        accept_gap: bool = False,
        until_end: bool = False,
        readers: int = 1,
    ) -> None:
        self._client = client
        self._stream = stream
        self._clock = clock
        self._beginnings = Beginnings(start, window)
        self._window, self._until_end = Window() if until_end else window, until_end
        self._ours = ours
        self._outage = outage or Outage(f"stream {stream}", clock)
        self._calls = Calls(client, stream, clock, memory, readers)
        self._shards: dict[str, Shard] = {}
        self._cursors: dict[str, Cursor] = {}
        self._drained, self._held = set[str](), set[str]()
        self._paused = False
        self._listing = Listing(client, stream, clock, self._outage, self._where())
        self._horizons = Horizons(stream, live=window is None)
        self._life = StreamLife(client, stream, clock)
        self._tips = Tips(stream, self._life, clock, accepting=accept_gap, live=window is None)

    def open(self, listener: Listener) -> None:
        """List the shards; SourceError at once when there is no such stream or no answer.

        When the list is refused for the moment only, `poll` asks again.
        """
        self._listener, self._listing.began = listener, self._clock.now()
        self._list()

    def poll(self, timeout: float) -> Records | None:
        """Return the next records of any shard, or None; see core.protocols.Source."""
        deadline = self._clock.monotonic() + timeout
        while True:
            self._release()
            waits = self._admit()
            reading = [] if self._paused else self._reading()
            self._calls.ask(reading)
            over = self._calls.finished(reading, min(deadline, self._listing.due))
            taken = [self._take(cursor, answer) for cursor, answer in over]
            parts = [records for records in taken if records is not None]
            if parts:
                return merge(parts)
            if waits or self.exhausted or self._clock.monotonic() >= deadline:
                return None

    def starts(self, sources: Collection[str]) -> Mapping[str, Start]:  # noqa: ARG002
        """Return the stream at a first start."""
        return self._beginnings.starts(self._stream, [*self._shards.values()], self._listing.began)

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """Check the stream against what the sinks know, before these shards are read.

        Where no sink knows when the stream was created, its age must explain their rows.
        """
        self._life.bind(known)
        self._beginnings.bind(known)
        self._tips.bind(known)

    def seek(self, positions: Positions) -> None:
        """Read these shards from their positions; their children wait for them.

        Raises TopicRecreated when a position counts in another life of the stream.
        """
        self._life.refuse_another(positions)
        for partition, position in positions.items():
            name = partition.id
            if name not in self._held:
                continue
            self._drained.discard(name)
            self._horizons.forget([partition])
            if (old := self._cursors.get(name)) is None:
                self._begin(self._shards[name], position)
            else:
                # A new cursor: what is on its way for the old one will be dropped.
                self._cursors[name] = Cursor(old.shard, old.begin, position, old.due)

    def pause(self) -> None:
        """Call for no more records; those on their way are still given."""
        self._paused = True

    def resume(self) -> None:
        """Call again."""
        self._paused = False

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        """Nothing yet: Kinesis stores no positions."""

    def horizons(self) -> Mapping[Partition, Horizon]:
        """Return how far shards were read; see `consumers.kinesis.horizons`."""
        return self._horizons.taken()

    @property
    def exhausted(self) -> bool:
        """Whether a bounded source has read every shard to its end or past its window."""
        if self._window is None or len(self._calls) or not self._shards:
            return False
        held = [self._cursors.get(shard.id) for shard in self._turn()]
        return all(cursor is not None and cursor.finished for cursor in held)

    def close(self) -> None:
        """Wait for the calls on their way, a few seconds at most."""
        self._calls.close()

    def _list(self) -> Mapping[str, Shard]:
        """List the shards now; return those that are known when Kinesis cannot list them now."""
        listed = self._listing.now()
        if listed is None:
            return self._shards
        self._life.confirmed(FRESH)
        self._shards |= listed
        return listed

    def _turn(self) -> list[Shard]:
        """Return the shards of ours that may be read."""
        turn = {self._partition(s): s for s in readable(self._shards, self._drained)}
        ours = set(self._ours(list(turn)))
        return [shard for partition, shard in turn.items() if partition in ours]

    def _release(self) -> None:
        """Let go of the shards that are no longer ours."""
        held = [self._partition(self._shards[name]) for name in self._held]
        gone = set(held) - set(self._ours(held))
        if gone:
            self._listener.revoked(gone)
            self._horizons.forget(gone)
        for partition in gone:
            self._held.remove(partition.id)
            self._cursors.pop(partition.id, None)
            self._outage.over(self._where(self._shards[partition.id]))

    def _admit(self) -> bool:
        """Announce the shards whose turn has come; whether one of them waits for its seek."""
        if self._clock.monotonic() >= self._listing.due:
            self._list()
        fresh = {s.id: self._partition(s) for s in self._turn() if s.id not in self._held}
        self._held |= fresh.keys()
        if fresh:
            self._listener.assigned(list(fresh.values()))
        self._horizons.end(self._drained & self._held, self._shards, self._cursors)
        return bool(fresh.keys() - self._cursors.keys() - self._drained)

    def _begin(self, shard: Shard, position: Position | None) -> None:
        begin = self._beginnings.of(shard, follows=bool(shard.parents & self._cursors.keys()))
        if begin == "LATEST" and shard.closed and position is None:
            self._drained.add(shard.id)
        else:
            self._cursors[shard.id] = Cursor(shard, begin, position)

    def _reading(self) -> list[Cursor]:
        held = [self._cursors[s.id] for s in self._turn() if s.id in self._cursors]
        return [cursor for cursor in held if not cursor.finished]

    def _take(self, cursor: Cursor, answer: Future[Response]) -> Records | None:
        """Return what came for a cursor, unless a seek or another owner took it over."""
        if all(cursor is not reading for reading in self._reading()):
            return None
        try:
            return self._accept(cursor, answer.result())
        except (BotoCoreError, ClientError) as error:
            return self._failed(cursor, error)

    def _failed(self, cursor: Cursor, error: BotoCoreError | ClientError) -> Records | None:
        """Put the shard off, or raise what stops the process."""
        where = self._where(cursor.shard)
        if faults.code(error) in faults.FOREIGN:
            self._life.confirmed(FRESH)
        match faults.classify(error):
            case faults.Fault.NOT_FOUND if cursor.shard.id not in self._list():
                return self._expired(cursor, where)
            case faults.Fault.UNKNOWN_POSITION if cursor.position is not None:
                raise faults.position_lost(error, where) from error
            case faults.Fault.UNKNOWN_POSITION | faults.Fault.LASTING:
                raise faults.explain(error, where) from error
            case faults.Fault.EXPIRED_ITERATOR:
                cursor.iterator = None
        cursor.due = max(cursor.due, self._next_try(cursor.backoff, error, where))
        return None

    def _expired(self, cursor: Cursor, where: str) -> Records | None:
        """Drop a shard that Kinesis no longer lists."""
        self._drained.add(cursor.shard.id)
        self._outage.over(where)
        return noted(self._tips.expired(cursor, self._shards, where))

    def _next_try(self, backoff: Backoff, error: Exception, where: str) -> float:
        """Return when to call again after a fault, by the monotonic clock."""
        faults.note(self._outage, error, where)
        return self._clock.monotonic() + backoff.wait()

    def _accept(self, cursor: Cursor, answer: Response) -> Records | None:
        cursor.backoff.reset()
        self._outage.over(self._where(cursor.shard))
        if not answer.frame.is_empty() and not self._life.proves(cursor):
            return None
        cursor.iterator = answer.iterator
        if not answer.behind and not answer.full:
            cursor.due = max(cursor.due, self._clock.monotonic() + IDLE_SPACING - SPACING)
        gaps = self._tips.gaps(cursor, self._where(cursor.shard)) if answer.gap else 0
        if answer.iterator is None:
            self._drained.add(cursor.shard.id)
            self._shards = {**answer.children, **self._shards, **self._list()}
        records = self._records(cursor, answer)
        self._horizons.read(cursor, answer)
        notes = self._tips.notes(cursor, answer, self._shards, gaps)
        return replace(records, notes=notes) if records else noted(notes)

    def _records(self, cursor: Cursor, answer: Response) -> Records | None:
        """Return the answer's records that are new and wanted; move the cursor past them."""
        rows = answer.frame.filter(KINESIS.unread(cursor.position))
        if self._window is not None:
            behind = answer.behind or int(self._until_end and self._shards[cursor.shard.id].closed)
            cursor.finished = self._window.passed_by(answer.frame, behind, self._listing.began)
            rows = self._window.head(rows)
        if rows.is_empty():
            return None
        number = rows.item(-1, KINESIS.number)
        end = KINESIS.after(number, rows.item(-1, "_subsequence"))
        digits, epoch = answer.digits.get(number, 0), self._life.epoch_after(cursor)
        end = replace(end, digits=digits, epoch=epoch)
        rows = rows if self._window is None else self._window.inside(rows)
        span = Span(cursor.position, end, rows.height)
        cursor.position = end
        return Records(rows, {self._partition(cursor.shard): span}, KINESIS)

    def _partition(self, shard: Shard) -> Partition:
        return Partition(self._stream, shard.id)

    def _where(self, shard: Shard | None = None) -> str:
        name = f", {shard.id}" if shard else ""
        return f"stream {self._stream} in {self._client.meta.region_name}{name}"
