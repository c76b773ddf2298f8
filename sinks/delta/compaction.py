"""Small data files of a table merged into large ones, their rows sorted.

A bin of small files becomes one entry of the log: it removes them and adds files with the same
rows. It moves no position, and says that no data changed. Files of other engines stay: they may
have rows of several incarnations, which only their name tells from ours.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from core import __version__
from core.clock import Clock
from core.errors import SinkError
from core.protocols import Options
from sinks.delta import data_file, file_writer, rewrite, setup
from sinks.delta import table as tables
from sinks.delta.commit_log import LONGEST_COMMIT
from sinks.delta.rewrite import Rewritten
from sinks.delta.scan import TableReader, is_own
from sinks.delta.sorting import sorted_parts
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store

KEY = "pinpipMaintain"  # what a commit says of it
SMALL = 4  # a file is small below this fraction of the target
LEAST = 4  # files that are merged
_LARGEST = 4  # bytes of one bin, in targets: into so many files its keys are parted
_MOST = 1_000  # files of one bin
_SHARE = 4  # of the memory: what is sorted at a time; its copies, its encoding, what is read ahead
_ANY_TIME = 2**62  # ms
_ROWS = 50_000  # of a batch that is read


@dataclass(frozen=True)
class Goal:
    """`target`: bytes of a data file; 0: none is small. `memory`: what a compaction may take."""

    target: int
    memory: int


@dataclass(frozen=True)
class SortedTable:
    """A table, the store of its files, and the columns by which merged rows are sorted."""

    target: DeltaTarget
    store: Store
    by: Sequence[str]


@dataclass(frozen=True)
class DataFile:
    """A data file: its bytes, its rows (None: the log does not say), when it was written (ms)."""

    path: str
    size: int
    rows: int | None
    written: int

    @property
    def folder(self) -> str:
        """Where it is below the table: files of one incarnation have one."""
        return self.path[: self.path.rfind("/") + 1]


@dataclass(frozen=True)
class Compacted:
    """What one entry removed and added."""

    files: int
    bytes: int
    rows: int
    new_files: int
    new_bytes: int


@dataclass(frozen=True)
class Plan:
    """How many files a version of a table has, which are small, and which to merge together."""

    table: DeltaTable
    files: int
    small: Sequence[DataFile]
    bins: Sequence[Sequence[DataFile]]


def plan(target: DeltaTarget, goal: Goal, before_ms: int) -> Plan | None:
    """Look at the files that were written until `before_ms`. None: there is no table.

    Raises SinkError when it asks more than this can do.
    """
    table = tables.find_own(target.uri, target.options, target.coordinates)
    if table is None:
        return None
    rewrite.refuse(table, target.uri, data_change=False)
    with tables.sorted_errors(target.uri):
        reader = TableReader(table, target.options)
        small = small_files(reader, goal, before_ms)
    return Plan(table, reader.files.height, small, list(bins(small, goal)))


def compact_all(place: SortedTable, goal: Goal, clock: Clock) -> Iterator[Compacted]:
    """Merge small files until no more of those at the start can be; yield what each entry did.

    Raises as `compact`.
    """
    started = now_ms(clock)
    found = plan(place.target, goal, started)
    while found is not None and found.bins:
        for files in found.bins:
            done = compact(place, found.table, files, goal, started=started, clock=clock)
            if done is None:
                break
            yield done
        found = plan(place.target, goal, started)


def mergeable(table: DeltaTable, options: Options, target: int) -> int:
    """Return how many files of a table would be merged into files of `target` bytes."""
    goal = Goal(target, 0)
    small = small_files(TableReader(table, options), goal, _ANY_TIME)
    return sum(map(len, bins(small, goal)))


def small_files(reader: TableReader, goal: Goal, before_ms: int) -> list[DataFile]:
    """Return the small files of pinpip that were written until `before_ms`."""
    columns = ("path", "size_bytes", "num_records", "modification_time")
    found = [DataFile(*row) for row in reader.files.select(columns).rows()]
    return [
        own
        for own in found
        if own.size * SMALL < goal.target
        and own.written <= before_ms
        and is_own(own.path)
        and rewrite.can_be_removed(reader, own.path)
    ]


def bins(small: Iterable[DataFile], goal: Goal) -> Iterator[list[DataFile]]:
    """Yield the files to merge with each other, close in time and of one folder.

    No file is merged with others that weigh less than itself, so that each byte is written again
    only about as often as its file may double. What is left is few files.
    """
    folders: dict[str, list[DataFile]] = defaultdict(list)
    for file in small:
        folders[file.folder].append(file)
    for own in folders.values():
        yield from _cut(sorted(_balanced(own), key=lambda f: (f.written, f.path)), goal)


def _balanced(files: list[DataFile]) -> list[DataFile]:
    """Return the largest number of the smallest files of which none outweighs the others."""
    ordered = sorted(files, key=lambda f: (f.size, f.path))
    sums = list(accumulate(file.size for file in ordered))
    most = max((n for n in range(LEAST, len(ordered) + 1) if _is_balanced(sums, n)), default=0)
    return ordered[:most]


def _is_balanced(sums: Sequence[int], count: int) -> bool:
    return sums[count - 1] <= 2 * sums[count - 2]


def _cut(files: Iterable[DataFile], goal: Goal) -> Iterator[list[DataFile]]:
    held, size = list[DataFile](), 0
    for file in files:
        if held and (size + file.size > _LARGEST * goal.target or len(held) == _MOST):
            yield held
            held, size = [], 0
        held.append(file)
        size += file.size
    if len(held) > 1:
        yield held


def compact(
    place: SortedTable,
    table: DeltaTable,
    files: Sequence[DataFile],
    goal: Goal,
    *,
    started: int,
    clock: Clock,
) -> Compacted | None:
    """Merge files of the version `table`, sorted, in one entry of the log.

    `started`: the time of the new files (ms).

    None: another writer removed one of them, or changed the table: plan again. Raises SinkError
    when the files have other rows than the log says, TransientError when the entry may be there or
    not: then the files tell.
    """
    target, store = place.target, place.store
    rows, began = _Sorted(TableReader(table, target.options), files, place.by, goal), clock.now()
    made = _written(place, table, rows, started)
    count = sum(json.loads(file.stats)["numRecords"] for file in made)
    _check(target.uri, files, count)
    told = {"files": len(files), "rows": count, "version": __version__}
    order = {"zOrderBy": json.dumps(list(place.by))}
    about = {"operation": "OPTIMIZE", "operationParameters": order, KEY: told}
    if clock.now() - began >= LONGEST_COMMIT:  # see `sinks.delta.vacuum`
        return None
    old = [Rewritten(own.path, own.size, made if n == 0 else ()) for n, own in enumerate(files)]
    if not rewrite.commit(target, store, table, old, about, now_ms(clock), rewrite.MOVED):
        return None
    sizes = [sum(own.size for own in files), sum(file.size for file in made)]
    return Compacted(len(files), sizes[0], count, len(made), sizes[1])


@dataclass(frozen=True)
class _Sorted:
    """The rows of some files of a table, in order."""

    reader: TableReader
    files: Sequence[DataFile]
    by: Sequence[str]
    goal: Goal

    def parts(self) -> Iterator[pl.DataFrame]:
        return sorted_parts(self._batches, self.by, self.goal.memory // _SHARE)

    def _batches(self) -> Iterator[pl.DataFrame]:
        rows = self.reader.scan([file.path for file in self.files])
        yield from rows.collect_batches(chunk_size=_ROWS, maintain_order=True)


def _written(place: SortedTable, table: DeltaTable, rows: _Sorted, now_ms: int) -> list[AddAction]:
    """Upload the rows as files that nobody can see yet."""
    wanted = data_file.bounded(rows.reader.schema, place.target.coordinates)
    bounded, folder = setup.bounds(table, wanted), rows.files[0].folder
    made = []
    with tables.sorted_errors(place.target.uri):
        for file, body in file_writer.files(
            rows.parts(), bounded, folder, rows.goal.target, now_ms
        ):
            place.store.put_new(file.path, body, {})
            made.append(file)
    return made


def _check(uri: str, files: Sequence[DataFile], rows: int) -> None:
    known = [own.rows for own in files if own.rows is not None]
    if len(known) == len(files) and sum(known) != rows:
        raise SinkError(
            f"{len(files)} files of table {uri} have {rows:,} rows, not {sum(known):,} as its log"
            " says",
            "restore them from a backup; nothing was changed. pinpip verify names the records",
        )


def now_ms(clock: Clock) -> int:
    """Return the time in milliseconds since 1970."""
    return int(clock.now().timestamp() * 1000)
