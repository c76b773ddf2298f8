"""Rows of data files written again, in one entry that removes the old files and adds the new ones.

It moves no position, so appends never conflict with it; another writer that removed one of the
files does, and so does a change of the table's metadata. Source: Delta transaction protocol, "Add
File and Remove File", "Append-only Tables", "Change Data Files".
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import polars as pl
from deltalake import DeltaTable, Transaction
from deltalake.transaction import AddAction

from core.errors import SinkError, StalePosition, TransientError
from sinks.delta import data_file, features, txns
from sinks.delta import table as tables
from sinks.delta.commit_log import Action, Committed, Version
from sinks.delta.log import DeltaLog
from sinks.delta.scan import TableReader, is_own
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store

_MAX_FOLLOWED = 200  # versions that others were faster to write
_FORBIDDEN = ("delta.appendOnly", "delta.enableChangeDataFeed")


@dataclass(frozen=True)
class Rewritten:
    """A data file of `size` bytes whose rows are in `files`, which nobody can see yet."""

    path: str
    size: int
    files: Sequence[AddAction]


@dataclass(frozen=True)
class Marked:
    """What an entry brings beside rewritten files: `files` of further rows, and `txns`.

    `held`: the versions that these application ids, or others, must have just before the entry.
    `data_change`: whether rows differ from those of the removed files.
    """

    files: Sequence[AddAction] = ()
    txns: Sequence[Transaction] = ()
    held: Mapping[str, int | None] = field(default_factory=dict)
    data_change: bool = True


CHANGED, MOVED = Marked(), Marked(data_change=False)


def refuse(table: DeltaTable, uri: str, *, data_change: bool = True) -> None:
    """Raise SinkError for a table that asks more of who removes files than this can do.

    Rows that only move (`data_change` false) may do so in an append-only table, and are no change
    for a feed of changes.
    """
    features.refuse_unreadable(table, uri)
    features.refuse_unwritable(table, uri)
    if not data_change:
        return
    asked = [n for n in _FORBIDDEN if table.metadata().configuration.get(n, "").lower() == "true"]
    if asked:
        raise SinkError(
            f"rows of table {uri} cannot be changed: it sets {', '.join(asked)}",
            f"unset it, or fill another table: ALTER TABLE … UNSET TBLPROPERTIES ('{asked[0]}')",
        )


def can_be_removed(reader: TableReader, path: str) -> bool:
    """Return whether the file is named by its path alone, spelled as in the log."""
    return quote(path, safe="/=") == path and path not in reader.masked


def folder_of(path: str, target: DeltaTarget) -> str:
    """Return where a file's rows are written again: another engine's are of the target's life.

    A file that pinpip named is of the incarnation of its folder, another engine's of any.
    """
    return path[: path.rfind("/") + 1] if is_own(path) else target.folder


def uploaded(
    store: Store, frames: Iterable[pl.DataFrame], bounded: Collection[str], folder: str, now_ms: int
) -> tuple[list[AddAction], int]:
    """Upload each frame as a file that nobody sees yet; return the files, and how many rows."""
    files, height = list[AddAction](), 0
    for rows in frames:
        file, body = data_file.made(rows, bounded, folder, now_ms)
        store.put_new(file.path, body, {})
        files.append(file)
        height += rows.height
    return files, height


def commit(
    target: DeltaTarget,
    store: Store,
    planned: DeltaTable,
    rewritten: Sequence[Rewritten],
    about: Mapping[str, Any],
    now_ms: int,
    marked: Marked = CHANGED,
) -> bool:
    """Commit what was made of files of the version `planned`; False: that must be planned again.

    Raises TransientError when the entry may be there or not: then the files tell.
    """
    newest = tables.find(target.uri, target.options)
    if newest is None or not _are_there(newest, planned, rewritten, target):
        return False
    refuse(newest, target.uri, data_change=marked.data_change)
    paths = {own.path for own in rewritten}
    files = [*(file for own in rewritten for file in own.files), *marked.files]
    removed = [
        removal(own.path, own.size, now_ms, data_change=marked.data_change) for own in rewritten
    ]
    entry = Version("", now_ms, marked.txns, files, removed=removed, about=about)
    started = txns.versions(newest, target.options) if marked.held else lambda _: None
    log = DeltaLog(store, newest.version(), started)
    for _ in range(_MAX_FOLLOWED):
        if any(log.txn_version(app) != version for app, version in marked.held.items()):
            return False
        try:
            outcome = log.append(entry)
        except StalePosition:  # the log was cleaned up meanwhile
            return False
        if isinstance(outcome, Committed):
            return True
        if outcome.alters or outcome.removed & paths:
            return False
    raise TransientError(f"{target.uri}: other writers were faster {_MAX_FOLLOWED} times")


def _are_there(
    newest: DeltaTable, planned: DeltaTable, rewritten: Sequence[Rewritten], target: DeltaTarget
) -> bool:
    """Return whether the files are as they were when they were read."""
    if newest.schema() != planned.schema() or newest.metadata().id != planned.metadata().id:
        return False
    with tables.sorted_errors(target.uri):
        reader = TableReader(newest, target.options)
        there = set(reader.files["path"])
        return all(o.path in there and can_be_removed(reader, o.path) for o in rewritten)


def removal(path: str, size: int, now_ms: int, *, data_change: bool = True) -> Action:
    """Return the action that removes a data file of `size` bytes."""
    return {
        "remove": {
            "path": path,
            "deletionTimestamp": now_ms,
            "dataChange": data_change,
            "extendedFileMetadata": True,
            "partitionValues": {},
            "size": size,
        }
    }
