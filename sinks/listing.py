"""Opening a table by a listing of its log, where delta-rs alone gives up.

delta-rs trusts `_last_checkpoint` even when it names a checkpoint that is not there, and a folder
that is listed while a fast writer adds to it shows a later entry without the one before. For an
earlier version that is asked for, it passes over both.
"""

import json
from pathlib import Path

import polars as pl
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

_FOLDER = "_delta_log"
_HINT = "_last_checkpoint"
_log = structlog.get_logger()


def at_newest(uri: str, options: dict[str, str]) -> DeltaTable:
    """The newest version that a listing shows: all entries before it are there since then.

    Raises DeltaError when one is missing all the same.
    """
    return DeltaTable(uri, version=_newest(uri, options), storage_options=options)


def without_hint(uri: str, options: dict[str, str]) -> DeltaTable:
    """The newest version, though the hint names a checkpoint that is gone.

    Raises DeltaError when the log before that checkpoint is gone as well.
    """
    named = _hint(uri, options)
    _log.warning("last_checkpoint_is_gone", table=uri, version=named)
    try:
        table = _before(uri, options, named)
        table.update_incremental()
    except (DeltaError, ValueError, OverflowError) as error:
        raise DeltaError(
            f"Kernel error: {_FOLDER}/{_HINT} names the checkpoint of version {named}, which is "
            f"gone, and the log before it is incomplete: {error}"
        ) from error
    return table


def _before(uri: str, options: dict[str, str], named: int) -> DeltaTable:
    """The version before the one that the hint names, or the newest when that is earlier."""
    entry = f"{uri}/{_FOLDER}/{named - 1:020d}.json"
    try:
        pl.scan_lines(entry, storage_options=options, glob=False).head(1).collect()
    except FileNotFoundError:
        return at_newest(uri, options)
    return DeltaTable(uri, version=named - 1, storage_options=options)


def _newest(uri: str, options: dict[str, str]) -> int:
    """The version of the newest entry; -1 when there is none."""
    return max((int(n[:20]) for n in _names(uri, options) if n[20:] == ".json"), default=-1)


def _names(uri: str, options: dict[str, str]) -> list[str]:
    if "://" not in uri:
        return [path.name for path in (Path(uri) / _FOLDER).iterdir()]
    from deltalake.fs import DeltaStorageHandler  # noqa: PLC0415  # pyarrow is slow to import
    from pyarrow.fs import FileSelector  # noqa: PLC0415

    found = DeltaStorageHandler(uri, options).get_file_info_selector(FileSelector(_FOLDER))
    return [file.base_name for file in found]


def _hint(uri: str, options: dict[str, str]) -> int:
    lines = pl.scan_lines(f"{uri}/{_FOLDER}/{_HINT}", storage_options=options, glob=False)
    return int(json.loads(lines.collect().item(0, 0))["version"])
