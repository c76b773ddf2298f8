"""One lake through each operation of pinpip on its tables, by the real classes and commands."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from typer.testing import Result

from core.clock import SystemClock
from core.config import Config
from pinpip.maintain import maintain
from pinpip.pipelines import tables_of
from pinpip.quarantine.requeue import requeue
from pinpip.quarantine.rows import Choice
from pinpip.rescue import rescue
from sinks.delta.checkpoints import CheckpointWriter
from sinks.delta.compaction import LEAST
from sinks.storage.store import FolderStore, open_store
from tests.support.board_lake import NEW, BoardLake, write
from tests.support.brokers import Broker
from tests.support.commands import invoke
from tests.support.connect_folder import export
from tests.support.latest_lake import LatestLake, Rec
from tests.support.processes import kafka_home, payloads
from tests.support.replacing import V2, History, filled, record

_AGE_S = 90 * 86_400
_BAD = b"not JSON"
_SMALL = {"maintain": {"target": "20KB", "memory": "1MiB"}}
_KINDS = {
    "id": "pl.Int64()",
    "tiny": "pl.Int64()",
    "short": "pl.Int64()",
    "whole": "pl.Int64()",
    "real": "pl.Float32()",
    "ratio": "pl.Float64()",
    "price": "pl.Decimal(12, 2)",
    "born": "pl.Date()",
    "at": "pl.String()",
    "yes": "pl.Boolean()",
    "tags": "pl.List(pl.String())",
    "size": "pl.Struct({'w': pl.Int64(), 'h': pl.Float64()})",
}
_MADE = (
    "rows.with_columns(pl.col('tiny').cast(pl.Int8), pl.col('short').cast(pl.Int16),"
    " pl.col('whole').cast(pl.Int32), pl.col('at').str.to_datetime('%Y-%m-%dT%H:%M:%S%.fZ',"
    " time_unit='us').dt.replace_time_zone('UTC'))"
)
# Of each type the ends, text that needs escapes, days before the Gregorian calendar, and null.
_VALUES: list[dict[str, Any]] = [
    {
        "id": -(2**63),
        "tiny": -128,
        "short": -(2**15),
        "whole": -(2**31),
        "real": -1.5,
        "ratio": 5e-324,
        "price": "-9999999999.99",
        "born": "0001-01-01",
        "at": "0001-01-01T00:00:00Z",
        "yes": False,
        "tags": [],
        "size": {"w": None, "h": -0.0},
    },
    {
        "id": 2**63 - 1,
        "tiny": 127,
        "short": 2**15 - 1,
        "whole": 2**31 - 1,
        "real": 1.5,
        "ratio": 1.7976931348623157e308,
        "price": "9999999999.99",
        "born": "1582-10-10",
        "at": "1899-12-31T23:59:59.999999Z",
        "yes": True,
        "tags": ["", "日本 %20 \u2028", None],
        "size": {"w": 2**53 + 1, "h": 1e-7},
    },
    {"id": 1, "at": "9999-12-31T23:59:59.999999Z", "born": "9999-12-31"},
]


@dataclass(frozen=True)
class Done:
    """An operation that was done, and the tables that have a new version or log since."""

    name: str
    tables: Sequence[Path]


def operations(folder: Path, broker: Broker) -> Iterator[Done]:
    """Do one operation after another on tables below `folder`; yield each when it is done."""
    seen: dict[Path, Sequence[str]] = {}
    for name in _all(folder, broker):
        logs = {path.parent: _names(path) for path in sorted(folder.rglob("_delta_log"))}
        changed = [table for table, names in logs.items() if seen.get(table) != names]
        seen = logs
        yield Done(name, changed)


def _names(log: Path) -> Sequence[str]:
    """Return what is in the folder of a table: data files and log alike."""
    return sorted(str(path.relative_to(log.parent)) for path in log.parent.rglob("*"))


def _all(folder: Path, broker: Broker) -> Iterator[str]:
    yield from _of_boards(folder / "boards")
    yield from _of_latest(folder / "latest")
    yield from _of_copies(folder / "copies", broker)


def _of_boards(folder: Path) -> Iterator[str]:
    folder.mkdir()
    history = filled(folder, sections=_SMALL)
    yield "consume"
    _every_type(folder)
    yield "consume every type"
    requeue(history.lake.config(body=V2), "boards", Choice(), SystemClock())
    yield "quarantine requeue"
    history.replace(V2)
    yield "replay --replace"
    yield from _of_columns(history.lake)
    yield from _of_upkeep(history)


def _every_type(folder: Path) -> None:
    kinds = BoardLake(folder, str(folder / "kinds"))
    write(kinds.config(_KINDS, _MADE), *_VALUES, _BAD)
    assert kinds.rows().height == len(_VALUES), "a value was rejected"


def _of_columns(lake: BoardLake) -> Iterator[str]:
    write(lake.config(), record("kept") | {"pins": 2**40, "other": [1]}, partition=2)
    yield "a field that is not declared"
    write(lake.config(NEW), record("new") | {"pins": 7}, _BAD, partition=2)
    yield "a column added"
    rescue(lake.config(NEW), "boards", SystemClock())
    yield "rescue"


def _of_upkeep(history: History) -> Iterator[str]:
    config = history.lake.config(NEW)
    for n in range(LEAST):
        write(config, record(f"small {n}"), _BAD, partition=2)
    yield "consume small files"
    merged = [done.merged for done in maintain(config, "boards", SystemClock())]
    assert len(merged) == len(_tables(config)), merged
    assert min(merged) >= LEAST, "no files of a table were merged"
    yield "maintain: compaction"
    _age(history)
    write(config, record("after"), _BAD, partition=2)
    removed = [done.removed for done in maintain(config, "boards", SystemClock())]
    pairs = zip(removed, merged, strict=True)
    assert all(gone >= old for gone, old in pairs), "a merged file was not removed"
    yield "maintain: vacuum"
    for turn in ("checkpoint", "second checkpoint", "log clean-up"):
        _checkpoint(config)
        yield turn
        _age(history)
        write(config, record(turn) | {"pins": 9}, _BAD, partition=2)
        yield f"consume after the {turn}"
    for table in _tables(config):
        assert not (table / "_delta_log" / f"{0:020d}.json").exists(), "the log was not cleaned up"


def _tables(config: Config) -> list[Path]:
    tables = tables_of(config, "boards")
    return [Path(tables.clean), Path(tables.quarantine)]


def _age(history: History) -> None:
    """Let all files be older by three months, to the store."""
    for path in Path(history.lake.root).rglob("*"):
        then = path.stat().st_mtime - _AGE_S
        os.utime(path, (then, then))


def _checkpoint(config: Config) -> None:
    for table in _tables(config):
        options = tables_of(config, "boards").options
        writer = CheckpointWriter("test", str(table), options, open_store(str(table), config.aws))
        writer.write()
        version = DeltaTable(table).version()
        assert (table / "_delta_log" / f"{version:020d}.checkpoint.parquet").exists()


def _of_latest(folder: Path) -> Iterator[str]:
    lake = LatestLake(str(folder))
    lake.append(0, [Rec(1, 1, "one"), Rec(2, 1, "two", 5), Rec(None, 2, "none")])
    lake.follow()
    yield "latest: first rows"
    lake.append(1, [Rec(1, 3, "again"), Rec(2, 4, None), Rec(3, 1, "three")])
    lake.follow()
    yield "latest: a newer row and a tombstone"


def _of_copies(folder: Path, broker: Broker) -> Iterator[str]:
    topic, values = broker.create_topic(), payloads(200)
    broker.produce(topic, values)
    home = kafka_home(folder, broker, topic)
    store = FolderStore(folder / "topics")
    export(store, topic, [values[n::4] for n in range(4)])
    _succeeded(invoke(home, "consume", "user", "--until-end"))
    yield "pinpip consume"
    _succeeded(invoke(home, "replay", "user", "--into", "again"))
    yield "replay --into"
    _succeeded(invoke(home, "replay", "user", "--from-connect", store.uri, "--into", "imported"))
    yield "replay --from-connect"


def _succeeded(done: Result) -> None:
    assert done.exit_code == 0, done.output
