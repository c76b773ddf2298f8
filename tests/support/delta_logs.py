"""Delta tables of a few commits on disk, and what other engines write to their logs."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from deltalake import DeltaTable

from core.batch import KAFKA
from sinks.delta.sink import DeltaSink
from sinks.delta.table import checkpoint
from sinks.storage.protocol import Store
from sinks.storage.store import FolderStore
from tests.support.batches import RecordLog
from tests.support.sink_backends import DeltaBackend

LOG = RecordLog(KAFKA)


A, B = 0, 1


def in_folder(folder: Path) -> DeltaBackend:
    """Make a table on disk."""
    return DeltaBackend(FolderStore(folder), dict, "clean", KAFKA)


def opened(backend: DeltaBackend, *indices: int, store: Store | None = None) -> DeltaSink:
    """Make a sink that has read the positions of these partitions."""
    made = cast(
        DeltaSink, DeltaBackend(store or backend.store, backend.options, "clean", KAFKA).sink()
    )
    made.positions([LOG.partition(i) for i in indices])
    return made


def in_threes(sink: DeltaSink, numbers: range) -> None:
    """Write these commits, of three offsets each."""
    for n in numbers:
        sink.write(LOG.batch({A: (3 * n, 3 * n + 3)}))


def table_of(backend: DeltaBackend) -> DeltaTable:
    """Open the table with delta-rs."""
    return DeltaTable(backend.store.uri, storage_options=backend.options())


def log_of(backend: DeltaBackend) -> Path:
    """Return the folder of the log of a table on disk."""
    return Path(backend.store.uri) / "_delta_log"


def entries(backend: DeltaBackend) -> list[int]:
    """Return the versions whose log entries exist."""
    return sorted(int(p.stem) for p in log_of(backend).glob("*.json") if p.stem.isdigit())


def clean_up(backend: DeltaBackend, left: Collection[int]) -> None:
    """Remove all entries but these, as an unfinished clean-up does."""
    for version in set(entries(backend)) - set(left):
        (log_of(backend) / f"{version:020d}.json").unlink()


def by_the_second_specification(backend: DeltaBackend) -> None:
    """Write a checkpoint of the newest version as Spark does with `delta.checkpointPolicy` v2."""
    version = table_of(backend).version() + 1
    require(backend, 3, ["v2Checkpoint"])
    paths = [log_of(backend) / f"{n:020d}.json" for n in range(version + 1)]
    lines = [line for path in paths for line in path.read_text().splitlines()]
    actions = [json.loads(line) for line in lines]
    newest = {action["txn"]["appId"]: action for action in actions if "txn" in action}
    others = [a for a in actions if a.keys() & {"metaData", "add"}] + [actions[-1]]
    held = [{"checkpointMetadata": {"version": version}}, *others, *newest.values()]
    text = "\n".join(json.dumps(action) for action in held)
    (log_of(backend) / f"{version:020d}.checkpoint.{uuid4()}.json").write_text(text)


def require(backend: DeltaBackend, reader: int, features: list[str]) -> None:
    """Require these features of the table's writers, and of its readers from 3 on."""
    protocol: dict[str, Any] = {"minReaderVersion": reader, "minWriterVersion": 7}
    if reader == 3:
        protocol["readerFeatures"] = features
    entry = json.dumps({"protocol": protocol | {"writerFeatures": features}})
    version = table_of(backend).version() + 1
    assert backend.store.put_new(f"_delta_log/{version:020d}.json", entry.encode(), {})


def checkpointed(
    folder: Path, *, versions: tuple[int, ...] = (3, 6), last: int = 8
) -> DeltaBackend:
    """Write a table of `last` commits with checkpoints of these versions."""
    backend = in_folder(folder)
    sink = opened(backend, A)
    for n in range(last):
        in_threes(sink, range(n, n + 1))
        if n + 1 in versions:
            checkpoint(backend.store.uri, dict)
    return backend
