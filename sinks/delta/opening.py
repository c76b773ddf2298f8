"""Opening a table where delta-rs alone gives up, though its log says all that is needed.

delta-rs trusts `_last_checkpoint` even when it names a checkpoint that is not there, and reads the
newest checkpoint even when that is damaged. A folder that is listed while a fast writer adds to it
shows it a later entry without the one before. For an earlier version that is asked for, it passes
over the hint and the gap.
"""

import io

import polars as pl
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from core.errors import SinkError
from core.paths import to_delta_rs
from core.protocols import Options
from sinks.delta import listing
from sinks.delta.listing import NONE, Checkpoint
from sinks.delta.log import HINT, name_of, read_hint
from sinks.storage.protocol import Store
from sinks.storage.store import of_table

_NEEDED = ("protocol", "metaData")
_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
_log = structlog.get_logger()


def at_newest(uri: str, options: Options) -> DeltaTable:
    """Open the newest version that a listing shows: all entries before it exist since then.

    Raises DeltaError when one is missing all the same.
    """
    entries = listing.listed(of_table(uri, options)).entries
    return DeltaTable(to_delta_rs(uri), version=max(entries, default=-1), storage_options=options())


def without_hint(uri: str, options: Options) -> DeltaTable:
    """Open the newest version although the hint names a checkpoint that is gone.

    Raises DeltaError when the log before that checkpoint is gone as well.
    """
    store = of_table(uri, options)
    told = read_hint(store)
    named = told.version if told else 0
    _log.warning("last_checkpoint_is_gone", table=uri, version=named)
    try:
        if store.metadata(name_of(named - 1)) is None:
            table = at_newest(uri, options)
        else:
            table = DeltaTable(to_delta_rs(uri), version=named - 1, storage_options=options())
        table.update_incremental()
    except (DeltaError, ValueError, OverflowError) as error:
        raise DeltaError(
            f"Kernel error: {HINT} names the checkpoint of version {named}, which is "
            f"gone, and the log before it is incomplete: {error}"
        ) from error
    return table


def drop_damaged(uri: str, options: Options) -> bool:
    """Remove the newest checkpoint if it is damaged and the log says all that it said.

    Return False without a change when it can be read, or nothing older leads to the newest version.
    """
    store = of_table(uri, options)
    log = listing.listed(store)
    bases = list(log.bases())
    damaged = [b for b in bases if b.at == bases[0].at and not _is_readable(store, b)]
    others = (b for b in bases if b not in damaged and log.leads(b))
    if not damaged or not any(_is_readable(store, base) for base in others):
        return False
    told = read_hint(store)
    named = [HINT] if told and told.version == bases[0].at else []
    _remove(store, [*named, *(key for base in damaged for key in base.keys)])
    _log.warning("damaged_checkpoint_removed", table=uri, version=bases[0].at)
    return True


def _remove(store: Store, keys: list[str]) -> None:
    try:
        store.remove(keys)
    except SinkError as error:
        raise SinkError(
            f"a checkpoint of table {store.uri} is damaged and cannot be removed: {error.message}",
            f"remove {', '.join(keys)} below {store.uri}: the rest of the log says the same",
        ) from error


def _is_readable(store: Store, base: Checkpoint) -> bool:
    """Return whether its files can be read whole, and have what the state of every table has."""
    try:
        found = [kind for key in base.keys for kind in _kinds(store, key)]
    except _UNREADABLE:
        return False
    return base is NONE or set(_NEEDED) <= set(found)


def _kinds(store: Store, key: str) -> list[str]:
    """List the kinds of action in one file of a checkpoint; raises one of _UNREADABLE."""
    body = io.BytesIO(store.find(key) or b"")
    as_json = key.endswith("json")
    held = pl.scan_ndjson(body, infer_schema_length=None) if as_json else pl.scan_parquet(body)
    counts = held.select(pl.all().count()).collect().row(0, named=True)
    if counts.get("sidecar"):
        paths = held.select(pl.col("sidecar").struct.field("path")).collect().to_series()
        for path in paths.drop_nulls():
            _kinds(store, f"{listing.FOLDER}_sidecars/{path}")
    return [kind for kind, count in counts.items() if count]
