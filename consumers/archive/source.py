"""A bounded source over objects that hold a topic or stream, in the order of its partitions."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import polars as pl

from consumers.archive.ahead import Ahead
from consumers.archive.pieces import Decode, Histories, Piece, ordered
from consumers.window import Window
from core.batch import Coordinates, Partition, Position, Positions, Records, Span, reaches
from core.errors import SourceError, TopicRecreated
from core.observer import Horizon
from core.origins import Start
from core.protocols import Listener
from core.topic_id import Known, kind_of, told

Slice = tuple[Piece, pl.DataFrame, Position]  # rows of a piece, and where they end
_ANOTHER = "name a table of its own with --into"


class FileSource:
    """A core.protocols.Source over the `window` of `histories`, exhausted at its end.

    `ends`: where partitions end before their last object does. `starts`: where a pipeline begins
    that has read nothing yet; none for a table beside it.
    """

    def __init__(
        self,
        histories: Histories,
        ahead: Ahead,
        decode: Decode,
        coordinates: Coordinates,
        window: Window,
        *,
        ends: Mapping[Partition, Position] | None = None,
        starts: Mapping[str, Start] | None = None,
    ) -> None:
        self.coordinates = coordinates
        self._histories, self._ahead, self._decode = histories, ahead, decode
        self._window = window
        self._starts = starts or {}
        self._ends = {p: _end(own, window) for p, own in histories.items()} | dict(ends or {})
        self._open = set(histories)
        self._at: dict[Partition, Position | None] = {}
        self._slices: Iterator[Slice] = iter(())
        self._paused = False

    def open(self, listener: Listener) -> None:
        """Hand over all partitions."""
        listener.assigned(list(self._histories))

    def poll(self, timeout: float) -> Records | None:
        """Return the next slice of an object; raises SourceError for one that cannot be read."""
        if self._paused:
            return None
        part = next(self._slices, None)
        if part is None:
            found = self._ahead.next(timeout)
            if found is None:
                return None
            self._slices = self._slices_of(*found)
            part = next(self._slices)
        return self._records(*part)

    def starts(self, sources: Collection[str]) -> Mapping[str, Start]:
        """Return where these topics begin, if this source is to tell."""
        return {name: start for name, start in self._starts.items() if name in sources}

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """Refuse sinks that hold another life of the topic or stream."""
        for partition, own in known.items():
            life, held = self._ends[partition].epoch, own.furthest
            if held is not None and life is not None and not held.agrees(life):
                kind = kind_of(self.coordinates)
                raise TopicRecreated(
                    f"the table holds {partition} of the {kind} {self._told(held.epoch)}, these "
                    f"objects are of the {kind} {self._told(life)}",
                    _ANOTHER,
                )

    def seek(self, positions: Positions) -> None:
        """Read each partition from its position (None: from the start of the window).

        Raises SourceError when a position lies before that: going on would leave a gap.
        """
        for partition, position in positions.items():
            self._refuse_gap(partition, position)
            self._at[partition] = position
            self._open.add(partition)
            self._leave_if_done(partition)
        self._slices = iter(())
        left = ordered(self._histories, {p: self._at[p] for p in self._at if p in self._open})
        self._ahead.plan(piece for piece in left if self._is_wanted(piece))

    def pause(self) -> None:
        """Give nothing; what was read ahead is kept."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        """Nothing: files have no consumers."""

    def horizons(self) -> Mapping[Partition, Horizon]:
        """None: a replay is never compared with the source's end."""
        return {}

    @property
    def exhausted(self) -> bool:
        """Whether every partition has reached its end."""
        return not self._open

    def close(self) -> None:
        """Read nothing more."""
        self._ahead.close()

    def _slices_of(
        self, piece: Piece, body: bytes
    ) -> Iterator[tuple[Piece, pl.DataFrame, Position]]:
        """Yield the slices of an object and where each ends."""
        before = None
        for rows in self._decode(piece, body):
            if before is not None:
                yield piece, before, self._after(before, piece)
            before = rows
        if before is not None:
            yield piece, before, piece.end

    def _after(self, rows: pl.DataFrame, piece: Piece) -> Position:
        """Return the position after the last of these rows."""
        c, last = self.coordinates, rows.row(-1, named=True)
        at = c.after(last[c.number], None if c.sub is None else last[c.sub])
        return replace(at, epoch=piece.end.epoch, digits=piece.end.digits)

    def _records(self, piece: Piece, rows: pl.DataFrame, end: Position) -> Records | None:
        partition, start = piece.partition, self._at[piece.partition]
        end = min(end, self._ends[partition])
        if reaches(start, end):
            return None
        rows = self._window.inside(self._cut(rows, self._from(partition), end))
        self._at[partition] = end
        self._leave_if_done(partition)
        return Records(rows, {partition: Span(start, end, rows.height)}, self.coordinates)

    def _cut(self, rows: pl.DataFrame, start: Position, end: Position) -> pl.DataFrame:
        """Return the rows between both; a copy only where the first or the last is not."""
        c = self.coordinates
        within = c.unread(start) & ~c.unread(end)
        edges = pl.concat([rows.head(1), rows.tail(1)])
        return rows if edges.select(within.all()).item() else rows.filter(within)

    def _from(self, partition: Partition) -> Position:
        """Return where the rows begin that are wanted next."""
        return self._at[partition] or Position(self._window.first or 0)

    def _is_wanted(self, piece: Piece) -> bool:
        first, end = Position(self._window.first or 0), self._ends[piece.partition]
        return piece.end > first and piece.start < end

    def _leave_if_done(self, partition: Partition) -> None:
        if reaches(self._from(partition), self._ends[partition]):
            self._open.discard(partition)

    def _refuse_gap(self, partition: Partition, position: Position | None) -> None:
        pieces = self._histories[partition]
        first = max(pieces[0].start, Position(self._window.first or 0))
        if position is not None and position < min(first, self._ends[partition]):
            raise SourceError(
                f"the table holds {partition} up to {position.number}, the replay starts at "
                f"{first.number}: it would leave a gap",
                _ANOTHER,
            )

    def _told(self, epoch: int | None) -> str:
        return told(epoch or 0, self.coordinates)


def _end(pieces: Sequence[Piece], window: Window) -> Position:
    """Return where the last of these pieces ends, or the window."""
    last = pieces[-1]
    if window.last is None or last.end.number <= window.last:
        return last.end
    return Position(window.last, epoch=last.end.epoch)
