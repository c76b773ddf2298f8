"""All `txn` actions of a table, read at once: the newest checkpoint, and the entries since.

delta-rs looks up one application id at a time and reads the tail of the log for each: 600
partitions take it seconds on a disk and thousands of requests on S3. polars reads the contents:
one column of a checkpoint, many entries at a time, without the interpreter's lock. Source: Delta
transaction protocol, "Transaction Identifiers" and "Checkpoints".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from core import paths
from core.protocols import Options
from sinks.delta import listing, log
from sinks.delta.listing import NONE, Checkpoint
from sinks.delta.log import name_of
from sinks.delta.positions import Lookup
from sinks.delta.table import sorted_errors
from sinks.storage.protocol import Store
from sinks.storage.store import of_table

_AT_ONCE = 2_000  # entries
_TXN = pl.Struct({"appId": pl.String, "version": pl.Int64, "lastUpdated": pl.Int64})
_Row = tuple[str, int, int | None]
ENTRY, LINE = "entry", "line"
# OSError: also a file that is not there
_UNREADABLE = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
_Storage = dict[str, str]


@dataclass(frozen=True)
class Application:
    """The newest version of one application id, and when it was written (ms), if that is told."""

    version: int
    updated: int | None


def versions(table: DeltaTable, options: Options) -> Lookup:
    """Return the lookup of app ids as of `table`'s version."""
    return lookup(read(table, options))


def lookup(found: Mapping[str, Application]) -> Lookup:
    """Return a function from an app id to its version, None without one."""
    return {app_id: own.version for app_id, own in found.items()}.get


def written_at(found: Mapping[str, Application], app: str) -> int | None:
    """Return when one of the application ids below `app` was last written, in milliseconds."""
    times = [own.updated for app_id, own in found.items() if app_id.startswith(f"{app}/")]
    return max((at for at in times if at is not None), default=None)


def read(table: DeltaTable, options: Options) -> Mapping[str, Application]:
    """Read every application id as of `table`'s version.

    Raises SinkError when the log is damaged, TransientError when the store does not answer.
    """
    log, storage, version = paths.of_delta_rs(table.table_uri), options(), table.version()
    with sorted_errors(log):
        for base in _bases(of_table(log, options), version):
            try:
                rows = [*_checkpointed(log, base, storage), *_since(log, base, version, storage)]
            except _UNREADABLE as error:
                fault = str(error)  # the error would keep this frame, and so the table, in memory
            else:
                return {name: Application(number, updated) for name, number, updated in rows}
        raise DeltaError(f"Kernel error: {fault}")


def _bases(store: Store, version: int) -> Iterator[Checkpoint]:
    """Yield the checkpoints to read from: first the hint's, then those that a listing shows."""
    told = log.read_hint(store)
    if told is None:
        yield NONE
    elif told.version <= version:
        yield Checkpoint(told.version, (name_of(told.version, "checkpoint.parquet"),))
    yield from listing.listed(store).bases(version)


def _checkpointed(log: str, base: Checkpoint, storage: _Storage) -> list[_Row]:
    uris = [f"{log}/{key}" for key in base.keys]
    if not uris or uris[0].endswith("json"):
        return _logged(uris, storage)
    held = pl.scan_parquet(uris, storage_options=storage, glob=False)
    try:
        return _rows(held.select("txn"))
    except pl.exceptions.ColumnNotFoundError:
        held.select("metaData").head(0).collect()  # raises if it is not a checkpoint
        return []


def _since(log: str, base: Checkpoint, version: int, storage: _Storage) -> Iterator[_Row]:
    """Yield the `txn` actions of the entries beyond `base`, oldest first."""
    for first in range(base.at + 1, version + 1, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, version + 1))
        yield from _logged([f"{log}/{name_of(n)}" for n in numbers], storage)


def _logged(uris: Sequence[str], storage: _Storage) -> list[_Row]:
    if not uris:
        return []
    decoded = pl.col(LINE).str.json_decode(pl.Struct({"txn": _TXN})).struct.field("txn")
    return _rows(lines(uris, "txn", storage).select(decoded))


def lines(uris: Sequence[str], kind: str, storage: _Storage) -> pl.LazyFrame:
    """Scan the lines of entries that may be actions of that kind: each with its entry's URI."""
    found = pl.scan_lines(
        list(uris), name=LINE, storage_options=storage, glob=False, include_file_paths=ENTRY
    )
    told = found.filter(pl.col(LINE).str.contains(f'"{kind}"', literal=True))
    return told.sort(ENTRY, maintain_order=True)


def _rows(actions: pl.LazyFrame) -> list[_Row]:
    txn = pl.col("txn").struct
    fields = (txn.field(name) for name in ("appId", "version", "lastUpdated"))
    return actions.select(fields).drop_nulls(["appId", "version"]).collect().rows()
