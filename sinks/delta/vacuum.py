"""Data files that no version of the last days has, removed: replaced ones, and orphans.

A file goes if neither the newest version nor the one at the beginning of the retention names it,
and if it was written a day before that: what a writer uploads is named within a day or never (see
`commit_log.refuse_late`). Ages are differences between times of the store, so that a wrong local
clock removes nothing. Source: Delta transaction protocol, "Remove File"; delta-rs's own vacuum
needs the removing writer's clock, and never sees orphans.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
from deltalake import DeltaTable

from core import paths
from core.errors import SinkError
from core.protocols import Options
from sinks.delta import cleanup, listing
from sinks.delta import table as tables
from sinks.delta.commit_log import LONGEST_COMMIT
from sinks.delta.incarnation import MARK
from sinks.delta.scan import is_own
from sinks.storage.protocol import Store

PROPERTY = "delta.deletedFileRetentionDuration"
_AT_ONCE = 500


@dataclass(frozen=True)
class Unneeded:
    """The files that can go. `unknown`: why it cannot be told now; empty: it can."""

    paths: tuple[str, ...] = ()
    unknown: str = ""


def unneeded(store: Store, uri: str, options: Options, retention: timedelta) -> Unneeded:
    """Return pinpip's data files that no version of the last `retention` has.

    The table's own retention counts where it is longer. Raises TransientError when the store does
    not answer.
    """
    table = tables.find(uri, options)
    if table is None:
        return Unneeded()
    own = table.metadata().configuration.get(PROPERTY, "interval 0 days")
    asked = cleanup.period(own)
    if asked is None:
        return Unneeded(unknown=f"{PROPERTY} is {own!r}")
    times = _times(store)
    newest, since = max(times.values()), max(asked, retention)
    base = min(v for v, at in times.items() if newest - at <= since) - 1
    if base not in times:  # the table, or what is left of its log, is younger
        return Unneeded(unknown="" if base < 0 else f"the log does not go back by {since}")
    try:
        kept = _named(table) | _named(_at(uri, options, base))
    except SinkError as error:
        return Unneeded(unknown=error.message)
    return Unneeded(tuple(_older(store, newest - since - LONGEST_COMMIT, kept)))


def remove(store: Store, found: Unneeded) -> None:
    """Remove the files; those that are not there count as removed."""
    for first in range(0, len(found.paths), _AT_ONCE):
        store.remove(found.paths[first : first + _AT_ONCE])


def _times(store: Store) -> dict[int, datetime]:
    """Return when each entry of the log was written, by its version."""
    files = ((listing.parsed(key), at) for key, at in store.scan(listing.FOLDER))
    return {file.version: at for file, at in files if file is not None and file.is_entry}


def _at(uri: str, options: Options, version: int) -> DeltaTable:
    with tables.sorted_errors(uri):
        return DeltaTable(paths.to_delta_rs(uri), version=version, storage_options=options())


def _named(table: DeltaTable) -> set[str]:
    return set(pl.DataFrame(table.get_add_actions())["path"])


def _older(store: Store, bound: datetime, kept: set[str]) -> Iterator[str]:
    """Yield pinpip's data files that were written before `bound`, without those that are kept."""
    folders = {key[: key.rfind("/") + 1] for key in store.list(MARK)}
    for folder in ["", *sorted(folders)]:
        for key, written in store.scan(folder):
            if written < bound and is_own(key) and key not in kept:
                yield key
