"""What other engines do to a table on disk, done by hand: deletion vectors, files of any encoding.

Source: Delta transaction protocol, "Deletion Vectors" and "Deletion Vector Format"; the portable
Roaring format, https://github.com/RoaringBitmap/RoaringFormatSpec.
"""

import json
import struct
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from polars import selectors as cs

from core.batch import TIMESTAMP

Action = dict[str, Any]
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_MAGIC, _COOKIE = 1681511377, 12346


def put_entry(uri: str, *actions: Action) -> None:
    """Make the actions the table's next version."""
    version = DeltaTable(uri).version() + 1
    told = {"commitInfo": {"timestamp": 1, "operation": "DELETE"}}
    lines = "\n".join(json.dumps(action) for action in (told, *actions))
    (Path(uri) / "_delta_log" / f"{version:020d}.json").write_text(lines)


def asks_of_readers(features: list[str], version: int = 3) -> Action:
    """Make a protocol action that requires these features of readers and writers."""
    named = {"minReaderVersion": version, "minWriterVersion": 7, "writerFeatures": features}
    return {"protocol": named | ({"readerFeatures": features} if version == 3 else {})}


def maps_columns(uri: str) -> Action:
    """Make a metadata action that maps columns by name, here to their own names."""
    actions = [json.loads(line) for path in _entries(uri) for line in path.read_text().splitlines()]
    newest: Action = [action["metaData"] for action in actions if "metaData" in action][-1]
    schema = json.loads(newest["schemaString"])
    for n, field in enumerate(schema["fields"], 1):
        names = {"delta.columnMapping.id": n, "delta.columnMapping.physicalName": field["name"]}
        field["metadata"] |= names
    mapped = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "99"}
    return {"metaData": newest | {"schemaString": json.dumps(schema), "configuration": mapped}}


def _entries(uri: str) -> list[Path]:
    return sorted((Path(uri) / "_delta_log").glob("*.json"))


def adds(uri: str) -> list[Action]:
    """Return the `add` actions of the table's files by modification time; ignore checkpoints."""
    found: dict[str, Action] = {}
    for path in _entries(uri):
        for action in map(json.loads, path.read_text().splitlines()):
            if "remove" in action:
                found.pop(action["remove"]["path"], None)
            if "add" in action:
                found[action["add"]["path"]] = action["add"]
    return sorted(found.values(), key=lambda add: add["modificationTime"])


def delete_rows(
    uri: str,
    wanted: pl.Expr,
    storage: Literal["i", "u"] = "u",
    within: Callable[[str], bool] = lambda _: True,
) -> int:
    """Delete rows as Spark does with deletion vectors, inline or in files; how many.

    `within`: the data files that are looked at, by their paths.
    """
    total = 0
    changes: list[Action] = [asks_of_readers(["deletionVectors"])]
    for held in filter(lambda add: within(add["path"]), adds(uri)):
        rows = pl.read_parquet(f"{uri}/{held['path']}", hive_partitioning=False, glob=False)
        gone = rows.select(wanted).to_series().arg_true().to_list()
        if gone:
            total += len(gone)
            vector = _vector(Path(uri), gone, storage)
            stats = json.dumps(json.loads(held["stats"]) | {"tightBounds": False})
            changes += [_remove(held), {"add": held | {"stats": stats, "deletionVector": vector}}]
    put_entry(uri, *changes)
    return total


def rewrite(
    uri: str, change: Callable[[pa.Table], pa.Table], *, together: bool = False, **written: Any
) -> None:
    """Write each file again, or all as one, as another engine writes it."""
    held = adds(uri)
    tables = [_read(uri, add) for add in held]
    if together:
        tables = [pl.concat(tables, how="diagonal")]
    added = []
    for table in tables:
        name = f"part-00000-{uuid4()}-c000.snappy.parquet"
        pq.write_table(change(table.to_arrow()), f"{uri}/{name}", store_schema=False, **written)
        stats = json.dumps({"numRecords": table.height})
        size = (Path(uri) / name).stat().st_size
        new = {
            "path": name,
            "partitionValues": {},
            "size": size,
            "modificationTime": int(time.time() * 1000),
        }
        added.append({"add": new | {"dataChange": False, "stats": stats}})
    put_entry(uri, *map(_remove, held), *added)


def _read(uri: str, add: Action) -> pl.DataFrame:
    """Read a file's rows; give INT96 columns their time zone again."""
    found = pl.read_parquet(f"{uri}/{add['path']}", hive_partitioning=False, glob=False)
    return found.with_columns(cs.datetime("ns").cast(TIMESTAMP))


def _remove(add: Mapping[str, Any]) -> Action:
    return {"remove": {"path": add["path"], "deletionTimestamp": 1, "dataChange": True}}


def _vector(folder: Path, rows: Collection[int], storage: Literal["i", "u"]) -> Action:
    """Make the descriptor of a deletion vector for these row numbers."""
    body = _bitmap(rows)
    about = {"storageType": storage, "sizeInBytes": len(body), "cardinality": len(rows)}
    if storage == "i":
        return about | {"pathOrInlineDv": _z85(body)}
    name = uuid4()
    framed = struct.pack(">I", len(body)) + body + struct.pack(">I", zlib.crc32(body))
    (folder / f"deletion_vector_{name}.bin").write_bytes(b"\1" + framed)
    return about | {"pathOrInlineDv": _z85(name.bytes), "offset": 1}


def _bitmap(rows: Collection[int]) -> bytes:
    parts: dict[int, list[int]] = defaultdict(list)
    for row in sorted(rows):
        parts[row >> 16].append(row & 0xFFFF)
    head = struct.pack("<II", _COOKIE, len(parts))
    head += b"".join(struct.pack("<HH", key, len(low) - 1) for key, low in parts.items())
    at = len(head) + 4 * len(parts)
    for low in parts.values():
        head += struct.pack("<I", at)
        at += 2 * len(low)
    body = b"".join(struct.pack("<H", value) for low in parts.values() for value in low)
    return struct.pack("<IQI", _MAGIC, 1, 0) + head + body


def _z85(data: bytes) -> str:
    padded = data + b"\0" * (-len(data) % 4)
    words = struct.unpack(f">{len(padded) // 4}I", padded)
    return "".join(_DIGITS[word // 85**n % 85] for word in words for n in (4, 3, 2, 1, 0))
