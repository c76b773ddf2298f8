"""Replace the rows of some records, in the clean table and then in its quarantine.

One entry of each table's log removes the files that hold such rows, and adds their other rows
written again and the new rows: readers see old or new, never both, never neither. It moves no
position, so appends never conflict with it.

1. Upload the new rows of both tables: nobody sees them yet.
2. Commit the clean table's entry. It also says what the quarantine's will be.
3. Commit the quarantine's entry. After a crash before it, `finish` does it, whoever calls it.

Each table counts its replacements (`sinks.delta.marks`). Where the clean table counts more than its
quarantine, one is unfinished; an entry follows only the number before its own: one at a time.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from core import __version__
from core.clock import Clock
from core.errors import SinkError
from sinks.delta import (
    amendments,
    data_file,
    ledger,
    marks,
    merging,
    pending,
    rewrite,
    settled,
    txns,
)
from sinks.delta import table as tables
from sinks.delta.affected import Affected, affected, rewritten
from sinks.delta.amendments import Keys, Rows
from sinks.delta.ledger import Amendment, Entry
from sinks.delta.pending import Pending
from sinks.delta.rewrite import Marked
from sinks.delta.selection import Selection
from sinks.delta.setup import Setup
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store

_ROWS = 250_000  # of a new file, about
Frames = Callable[[], Iterable[pl.DataFrame]]


@dataclass(frozen=True)
class Place:
    """One table: how its rows are written, and where its objects are."""

    target: DeltaTarget
    store: Store


@dataclass(frozen=True)
class Outcome:
    """How many rows left each table, and how many entered.

    `done`: nothing, it was done before; `stale`: nothing, others moved some of the rows meanwhile.
    """

    removed: int = 0
    added: int = 0
    unquarantined: int = 0
    quarantined: int = 0
    done: bool = False
    stale: bool = False


@dataclass(frozen=True)
class _New:
    """Rows that are uploaded, and not in the table yet."""

    files: list[AddAction]
    keys: Keys


def replace(
    id_: str,
    selection: Selection,
    clean: tuple[Place, Frames],
    quarantine: tuple[Place, Frames],
    clock: Clock,
    reached: Callable[[str], None] = lambda _: None,
    *,
    leaving: int | None = None,
) -> Outcome:
    """Replace all rows of the selected records by the rows of the frames, in both tables.

    What the frames have of other records is left out. The records must be before the positions of
    both tables. `id_` names this replacement: done twice in a row, the second changes nothing. An
    unfinished one is finished first. `reached` hears of each step that a crash can follow. With
    `leaving` nothing is done unless so many rows leave the quarantine.

    Raises SinkError, before anything is committed, for a table that cannot be changed;
    TransientError when the same call may be tried again.
    """
    places = clean[0], quarantine[0]
    finish(*places, clock)
    if _is_done(clean[0], id_):
        return Outcome(done=True)
    new, new_rejects = (_uploaded(*each, selection, clock) for each in (clean, quarantine))
    reached("uploaded")
    news = (new, new_rejects)
    while (outcome := _committed(id_, selection, places, news, clock, leaving)) is None:
        finish(*places, clock)
        if _is_done(clean[0], id_):
            return Outcome(done=True)
    if not outcome.stale:
        reached("clean")
        finish(*places, clock)
    return outcome


def finish(clean: Place, quarantine: Place, clock: Clock) -> bool:
    """Commit to the quarantine what a replacement committed to the clean table alone, if any did.

    Return whether there was one. Raises SinkError when it can no longer be finished.
    """
    begun, done = (_mark_of(place) for place in (clean, quarantine))
    if begun.number < done.number:
        raise SinkError(
            f"{quarantine.target.uri} has seen more replacements than {clean.target.uri}",
            "one of the tables was restored: restore both to the same time",
        )
    if begun.number == done.number:
        return False
    left = _left_by(clean, begun.number)
    _refuse_lost(quarantine, left.files)
    while _mark_of(quarantine).number < begun.number:
        found = affected(quarantine.target, _opened(quarantine), left.selection)
        entry = _entry(quarantine, left.id, left.changes)
        _commit(quarantine, found, left, begun.number, {ledger.KEY: entry}, clock)
    return True


def _committed(
    id_: str,
    selection: Selection,
    places: tuple[Place, Place],
    new: tuple[_New, _New],
    clock: Clock,
    leaving: int | None,
) -> Outcome | None:
    """Commit the clean table's entry; None: others were faster, it must be planned again."""
    number = _mark_of(places[0]).number
    if _mark_of(places[1]).number != number:
        return None
    found = [affected(place.target, _opened(place), selection) for place in places]
    if leaving not in {None, _height(found[1].gone)}:
        return Outcome(stale=True)
    rows = [Rows(own.gone, made.keys) for own, made in zip(found, new, strict=True)]
    changes = [_changes(p, own, rows) for p, own in zip(places, found, strict=True)]
    mine, rest = (
        Pending(id_, selection, made.files, own) for made, own in zip(new, changes, strict=True)
    )
    entry = _entry(places[0], id_, mine.changes)
    about = {ledger.KEY: entry, pending.KEY: pending.encoded(rest, number + 1)}
    if not _commit(places[0], found[0], mine, number + 1, about, clock):
        return None
    (removed, added), (left, entered) = ((_height(own.gone), _height(own.new)) for own in rows)
    return Outcome(removed, added, left, entered)


def _commit(
    place: Place,
    found: Affected,
    mine: Pending,
    number: int,
    about: dict[str, Any],
    clock: Clock,
) -> bool:
    """Commit one table's entry; False: it must be planned again."""
    target, now_ms = place.target, _now_ms(clock)
    files = rewritten(target, place.store, found, mine.selection, now_ms)
    told = marks.write(target.app, number, mine.id, now_ms)
    marked = Marked(mine.files, told, {marks.count(target.app): number - 1 or None})
    return rewrite.commit(target, place.store, found.table, files, about, now_ms, marked)


def _changes(place: Place, found: Affected, rows: list[Rows]) -> tuple[Amendment, ...]:
    """Return what both tables' rows change of the ledger of one of them."""
    target = place.target
    ranges = settled.ledgered(found.table, target.uri, target.options, target.app)
    return tuple(amendments.made(ranges, rows[0], rows[1], target.coordinates))


def _entry(place: Place, id_: str, changes: tuple[Amendment, ...]) -> str:
    entry = Entry(
        app=place.target.app,
        version=__version__,
        event_time=None,
        ranges=(),
        rules=place.target.rules or None,
        replacement=id_,
        amendments=changes,
    )
    return ledger.encode(entry)


def _uploaded(place: Place, frames: Frames, selection: Selection, clock: Clock) -> _New:
    """Upload the selected rows of the frames as files of the table."""
    target, now_ms, table = place.target, _now_ms(clock), _opened(place)
    setup = Setup(target)
    setup.see(table, now_ms)
    setup.learn(table)
    files: list[AddAction] = []

    def uploaded() -> Iterator[pl.DataFrame]:
        for rows in _bundled(_selected(frames(), selection, target)):
            file, body = data_file.made(
                setup.fitted(rows), setup.bounded, target.folder, _now_ms(clock)
            )
            place.store.put_new(file.path, body, {})
            files.append(file)
            yield rows

    keys = amendments.of_rows(uploaded(), target.coordinates)
    return _New(files, keys)


def _selected(
    frames: Iterable[pl.DataFrame], selection: Selection, target: DeltaTarget
) -> Iterator[pl.DataFrame]:
    for rows in frames:
        yield rows.filter(selection.picked(rows, target.coordinates)).select(target.schema.names())


def _bundled(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the same rows in frames of about `_ROWS` rows."""
    held: list[pl.DataFrame] = []
    for rows in frames:
        held.extend(part for part in rows.iter_slices(_ROWS) if part.height)
        if sum(part.height for part in held) >= _ROWS:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)


def _opened(place: Place) -> DeltaTable:
    """Open a table whose rows can be changed, and that has every column of its target."""
    target = place.target
    table = tables.find_own(target.uri, target.options, target.coordinates)
    if table is None:
        raise SinkError(
            f"there is no table {target.uri}", "start its consumer once: pinpip consume"
        )
    tables.check(table, target)
    rewrite.refuse(table, target.uri)
    lacking = merging.missing([one.name for one in table.schema().fields], target)
    if lacking:
        raise SinkError(
            f"table {target.uri} lacks {', '.join(sorted(lacking))}",
            "start its consumer, which adds them: pinpip consume",
        )
    return table


def _mark_of(place: Place) -> marks.Mark:
    return marks.read(txns.versions(_opened(place), place.target.options), place.target.app)


def _is_done(clean: Place, id_: str) -> bool:
    return _mark_of(clean).newest == marks.digest(id_)


def _left_by(clean: Place, number: int) -> Pending:
    left = pending.find(clean.store, _opened(clean).version(), number)
    if left is None:
        raise SinkError(
            f"a replacement in {clean.target.uri} was never finished, and its entry has expired",
            "restore both tables to a time before it, or replay into a new table",
        )
    return left


def _refuse_lost(place: Place, files: list[AddAction]) -> None:
    lost = [file.path for file in files if place.store.metadata(file.path) is None]
    if lost:
        raise SinkError(
            f"{lost[0]}, which an unfinished replacement adds to {place.target.uri}, is gone",
            "restore it from a backup, and run the same command again",
        )


def _height(keys: Keys) -> int:
    return sum(own.len() for own in keys.values())


def _now_ms(clock: Clock) -> int:
    return int(clock.now().timestamp() * 1000)
