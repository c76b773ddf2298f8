"""Opening a table whose hint names a checkpoint that is not there: by a listing of its log.

delta-rs trusts `_last_checkpoint` and gives up. It passes over the hint when an earlier version is
asked for, and then follows the log entry by entry.
"""

import json

import structlog
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

_FOLDER = "_delta_log"
_log = structlog.get_logger()


def opened(uri: str, options: dict[str, str]) -> DeltaTable:
    """The newest version, without the hint.

    Raises DeltaError when the log before the lost checkpoint is gone as well.
    """
    from deltalake.fs import DeltaStorageHandler  # noqa: PLC0415  # pyarrow is slow to import
    from pyarrow.fs import FileSelector  # noqa: PLC0415

    place = DeltaStorageHandler(uri, options)
    named = int(json.loads(place.open_input_file(f"{_FOLDER}/_last_checkpoint").read())["version"])
    names = [f.base_name for f in place.get_file_info_selector(FileSelector(_FOLDER))]
    newest = max((int(n[:20]) for n in names if n[20:] == ".json"), default=-1)
    _log.warning("last_checkpoint_is_gone", table=uri, version=named)
    try:
        table = DeltaTable(uri, version=min(named - 1, newest), storage_options=options)
        table.update_incremental()
    except (DeltaError, ValueError, OverflowError) as error:
        raise DeltaError(
            f"Kernel error: {_FOLDER}/_last_checkpoint names the checkpoint of version {named}, "
            f"which is gone, and the log before it is incomplete: {error}"
        ) from error
    return table
