"""All `txn` actions of a table, read at once.

delta-rs answers for one application id at a time and reads the tail of the log for each: 600
partitions take it seconds on a disk and thousands of requests on S3. Source: Delta transaction
protocol, "Transaction Identifiers", "Checkpoints" and "Last Checkpoint File".
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable

from pinpip.borders import Options
from sinks.transactions import Lookup

_MOST = 2_000  # entries since the checkpoint: more are left to delta-rs, which holds all files
_SHARE = 16  # of the checkpoint's version, for old tables: twice the distance of checkpoints
_TXN = pl.Struct({"appId": pl.String, "version": pl.Int64, "lastUpdated": pl.Int64})
_Row = tuple[str, int, int | None]
_HINT: dict[str, pl.DataType] = {
    "version": pl.Int64(),
    "parts": pl.Int64(),
    "v2Checkpoint": pl.Struct({"path": pl.String}),
}
_ENTRY = "entry"
_UNREADABLE = (OSError, pl.exceptions.PolarsError)  # OSError: also a file that is not there
_Storage = dict[str, str]


@dataclass(frozen=True)
class Application:
    """The newest version of one application id, and when it was written (ms), if that is told."""

    version: int
    updated: int | None


def versions(table: DeltaTable, options: Options) -> Lookup:
    """The version of each application id as of `table`'s version; None: it has none.

    Where they cannot be read at once, delta-rs is asked for each.
    """
    found = read(table, options)
    if found is None:
        return table.transaction_version
    return {app_id: own.version for app_id, own in found.items()}.get


def written_at(table: DeltaTable, options: Options, app: str) -> int | None:
    """When one of the application ids below `app` was last written, in milliseconds."""
    found = (read(table, options) or {}).items()
    times = [own.updated for app_id, own in found if app_id.startswith(f"{app}/")]
    return max((at for at in times if at is not None), default=None)


def read(table: DeltaTable, options: Options) -> Mapping[str, Application] | None:
    """Every application id as of `table`'s version, from the newest checkpoint and what follows.

    None when that cannot be: a hint that names no checkpoint or one in several parts, entries that
    are gone.
    """
    log, storage = f"{table.table_uri.rstrip('/')}/_delta_log", options()
    try:
        since = _checkpoint(log, storage)
        if not since <= table.version() <= since + max(_MOST, since // _SHARE):
            return None
        newer = range(since + 1, table.version() + 1)
        entries = _logged([f"{log}/{n:020d}.json" for n in newer], storage)
        found = [*_checkpointed(log, since, storage), *entries]
    except _UNREADABLE:
        return None
    return {app_id: Application(version, updated) for app_id, version, updated in found}


def _checkpoint(log: str, storage: _Storage) -> int:
    """The version of the checkpoint that the hint names, -1 when there is no hint.

    Raises FileNotFoundError for a checkpoint that is not a single file.
    """
    try:
        hints = pl.scan_ndjson(f"{log}/_last_checkpoint", schema=_HINT, storage_options=storage)
        [(version, *others)] = hints.collect().rows()
    except (FileNotFoundError, ValueError):  # no hint, or an empty one
        return -1
    if version is None or any(others):
        raise FileNotFoundError(f"{log}/_last_checkpoint names no single file")
    return int(version)


def _checkpointed(log: str, version: int, storage: _Storage) -> list[_Row]:
    if version < 0:
        return []
    uri = f"{log}/{version:020d}.checkpoint.parquet"
    return _rows(pl.scan_parquet(uri, storage_options=storage, glob=False).select("txn"))


def _logged(uris: list[str], storage: _Storage) -> list[_Row]:
    """The `txn` actions of the entries, oldest first."""
    if not uris:
        return []
    lines = pl.scan_ndjson(
        uris, schema={"txn": _TXN}, storage_options=storage, include_file_paths=_ENTRY
    )
    return _rows(lines.sort(_ENTRY, maintain_order=True))


def _rows(actions: pl.LazyFrame) -> list[_Row]:
    txn = pl.col("txn").struct
    fields = (txn.field(name) for name in ("appId", "version", "lastUpdated"))
    return actions.select(fields).drop_nulls(["appId", "version"]).collect().rows()
