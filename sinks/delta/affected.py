"""The data files that hold rows of some records, and the other rows of these files."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from core.errors import SinkError
from sinks.delta import amendments, data_file, rewrite, scan, setup
from sinks.delta import table as tables
from sinks.delta.amendments import Keys
from sinks.delta.incarnation_reader import IncarnationReader
from sinks.delta.rewrite import Rewritten
from sinks.delta.scan import TableReader
from sinks.delta.selection import Selection
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store

_ROWS = 250_000  # of a file at once
_AT_ONCE = 8  # files
_TIME = "_timestamp"


@dataclass(frozen=True)
class File:
    """One file: `gone` has the coordinates of its rows of these records, `others` it has beside."""

    path: str
    size: int
    gone: pl.DataFrame
    others: int


@dataclass(frozen=True)
class Affected:
    """The files of one version of a table that hold such rows, and the keys of these."""

    table: DeltaTable
    files: Sequence[File]
    gone: Keys


def affected(target: DeltaTarget, table: DeltaTable, selection: Selection) -> Affected:
    """Find the files with rows of the selected records, of the target's incarnation.

    Raises SinkError for one that cannot be rewritten.
    """
    c = target.coordinates
    with tables.sorted_errors(target.uri):
        lives = IncarnationReader(table, target.options, c, target.app, target.folder)
        paths = scan.touching(lives.files, c, selection.hull)
        sizes = dict(lives.files.select("path", "size_bytes").iter_rows())
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            looked = [*pool.map(partial(_looked, lives, target, selection, sizes), paths)]
    files = [own for own in looked if own.gone.height]
    _refuse(lives, target, files)
    return Affected(table, files, amendments.of_rows((own.gone for own in files), c))


def _looked(
    lives: IncarnationReader,
    target: DeltaTarget,
    selection: Selection,
    sizes: dict[str, int],
    path: str,
) -> File:
    """Find a file's rows of these records; another incarnation's are among the others."""
    c = target.coordinates
    columns = list(dict.fromkeys([*c.identity, _TIME]))
    rows = lives.scan([path]).select(columns).collect()
    gone = rows.filter(selection.picked(rows, c)).select(c.identity)
    return File(path, sizes[path], gone, rows.height - gone.height)


def _refuse(lives: IncarnationReader, target: DeltaTarget, files: Sequence[File]) -> None:
    for own in files:
        if not rewrite.can_be_removed(lives.reader, own.path):
            raise SinkError(
                f"{own.path} of table {target.uri} has a deletion vector, or an escaped name",
                "rewrite the table's files with the engine that wrote it (REORG TABLE … PURGE)",
            )
        if not scan.is_own(own.path) and not lives.is_alone_in(own.path):
            raise SinkError(
                f"{own.path} of table {target.uri} was written by another engine, and has rows of"
                " several incarnations",
                "replay into a new table: pinpip replay --into",
            )


def rewritten(
    target: DeltaTarget, store: Store, found: Affected, selection: Selection, now_ms: int
) -> list[Rewritten]:
    """Upload the other rows of each file as new files."""
    with tables.sorted_errors(target.uri):
        reader = TableReader(found.table, target.options)
        wanted = data_file.bounded(target.schema, target.coordinates)
        bounded = setup.bounds(found.table, wanted)
        return [
            Rewritten(
                own.path,
                own.size,
                _kept(reader, store, own, selection, target, bounded, now_ms),
            )
            for own in found.files
        ]


def _kept(
    reader: TableReader,
    store: Store,
    own: File,
    selection: Selection,
    target: DeltaTarget,
    bounded: Sequence[str],
    now_ms: int,
) -> list[AddAction]:
    if not own.others:
        return []
    folder = rewrite.folder_of(own.path, target)
    others = _others(reader, own.path, selection, target)
    files, kept = rewrite.uploaded(store, others, bounded, folder, now_ms)
    if kept != own.others:
        raise SinkError(
            f"{own.path} of table {target.uri} has {kept:,} rows to keep, not {own.others:,}",
            "restore that file from a backup; nothing was changed",
        )
    return files


def _others(
    reader: TableReader, path: str, selection: Selection, target: DeltaTarget
) -> Iterator[pl.DataFrame]:
    for rows in reader.scan([path]).collect_batches(chunk_size=_ROWS, maintain_order=True):
        left = rows.filter(~selection.picked(rows, target.coordinates))
        if left.height:
            yield left
