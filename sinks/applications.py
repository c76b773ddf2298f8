"""All application ids (`txn` actions) of a Delta table, also where `sinks.txns` cannot read them.

Read from the newest checkpoint, in however many parts, and the entries since. Source: Delta
transaction protocol, "Transaction Identifiers" and "Checkpoints".
"""

import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
from deltalake import DeltaTable

from pinpip.borders import Options
from sinks import txns
from sinks.txns import Application

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_LOG = "_delta_log"
_NAME = re.compile(
    r"(?P<version>\d{20})\."
    r"(?P<kind>json|checkpoint\.(?:\d{10}\.(?P<of>\d{10})\.)?(?:[0-9a-f-]{36}\.)?(?:parquet|json))$"
)


def applications(table: DeltaTable, options: Options) -> Mapping[str, Application]:
    """Every application id that the table knows at its version."""
    found = txns.read(table, options)
    return _listed(table, options) if found is None else found


def _listed(table: DeltaTable, options: Options) -> Mapping[str, Application]:
    """As `applications`, whatever the checkpoint is; lists the log, and holds up other threads."""
    from deltalake.fs import DeltaStorageHandler  # noqa: PLC0415 - pyarrow is not always needed
    from pyarrow.fs import PyFileSystem  # noqa: PLC0415

    files = PyFileSystem(DeltaStorageHandler(table.table_uri, options()))
    found: dict[str, Application] = {}
    for name in _names(files, table.version()):
        for txn in _transactions(name, _body(files, name)):
            found[txn["appId"]] = Application(txn["version"], txn.get("lastUpdated"))
    return found


def _names(files: "FileSystem", version: int) -> list[str]:
    """The files of the newest whole checkpoint up to `version`, then the entries since."""
    from pyarrow.fs import FileSelector  # noqa: PLC0415

    found = (_NAME.match(info.base_name) for info in files.get_file_info(FileSelector(_LOG)))
    till = sorted((int(m["version"]), m[0], m) for m in found if m and int(m["version"]) <= version)
    checkpoints: dict[int, list[re.Match[str]]] = defaultdict(list)
    for n, _, match in till:
        if match["kind"] != "json":
            checkpoints[n].append(match)
    newest = max((n for n, parts in checkpoints.items() if _is_whole(parts)), default=-1)
    since = [name for n, name, match in till if n > newest and match["kind"] == "json"]
    return [match[0] for match in checkpoints[newest]] + since


def _is_whole(parts: Sequence[re.Match[str]]) -> bool:
    """Whether one file is a checkpoint by itself, or all parts of one are there."""
    return any(m["of"] is None for m in parts) or len(parts) == int(parts[0]["of"])


def _body(files: "FileSystem", name: str) -> bytes:
    with files.open_input_stream(f"{_LOG}/{name}") as stream:
        return bytes(stream.read())


def _transactions(name: str, body: bytes) -> Iterator[Mapping[str, Any]]:
    if name.endswith("parquet"):
        held = pl.scan_parquet(io.BytesIO(body))
        if "txn" in held.collect_schema():
            yield from held.select(pl.col("txn").drop_nulls()).collect()["txn"]
        return
    for line in body.splitlines():
        action = json.loads(line) if line.strip() else {}
        if "txn" in action:
            yield action["txn"]
