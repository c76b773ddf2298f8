"""A lake of one pipeline, `boards`, whose declaration changes: members with old and new code."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from deltalake import DeltaTable

from core.batch import HEADERS, HEADERS_DTYPE, KAFKA, VALUE, Batch, Partition, Records, Span
from core.clock import SystemClock
from core.config import Config
from core.protocols import FaultInjector
from pinpip import configfile
from pinpip.pipelines import process_of, sinks_of, tables_of
from tests.support.aws import TestAws

TOPIC = "demo.boards"
OLD = {"id": "pl.Int64()", "title": "pl.String()"}
NEW = OLD | {"pins": "pl.Int64()"}
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_CODE = """
import polars as pl
from polars import selectors as cs

from transforms.schema import Schema

SCHEMA = Schema("board", "id", {{{fields}}})


def clean(rows):
    return {body}
"""


@dataclass(frozen=True)
class BoardLake:
    """A folder with code and configurations; the tables are below `root`."""

    folder: Path
    root: str
    sections: dict[str, Any] = field(default_factory=dict)
    archives: tuple[dict[str, Any], ...] = ()

    def config(self, fields: dict[str, str] = OLD, body: str = "rows") -> Config:
        """Return the configuration whose boards have these fields."""
        return configfile.load(self.path(fields, body), {})

    def path(self, fields: dict[str, str] = OLD, body: str = "rows") -> Path:
        """Return the file of that configuration."""
        told = ", ".join(f"{name!r}: {dtype}" for name, dtype in fields.items())
        code = _CODE.format(fields=told, body=body)
        stem = f"boards_{sha256(code.encode()).hexdigest()[:8]}"
        (self.folder / f"{stem}.py").write_text(code, encoding="utf-8")
        pipeline = {
            "source": {"topics": [TOPIC]},
            "schema": f"{stem}.py:SCHEMA",
            "transform": f"{stem}.py:clean",
            "sinks": [{"delta": "boards"}, *self.archives],
        }
        tree: dict[str, Any] = {"id": "demo", "kafka": {"bootstrap.servers": "127.0.0.1:1"}}
        tree |= {"lake": {"root": self.root}, "pipelines": {"boards": pipeline}} | self.sections
        path = self.folder / f"{stem}.yaml"
        path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
        return path

    def table(self) -> DeltaTable:
        """Open the clean table."""
        tables = tables_of(self.config(), "boards")
        return DeltaTable(tables.clean, storage_options=tables.options())

    def rows(self) -> pl.DataFrame:
        """Read the clean table as any reader does."""
        tables = tables_of(self.config(), "boards")
        found = pl.read_delta(tables.clean, storage_options=tables.options())
        return found.sort("_partition", "_offset")


def lake_of(request: pytest.FixtureRequest, folder: Path) -> BoardLake:
    """Return an empty lake: in a bucket where the test's parameter says so, else in the folder."""
    if getattr(request, "param", "folder") != "bucket":
        return BoardLake(folder, str(folder / "lake"))
    aws: TestAws = request.getfixturevalue("aws")
    keys = {"access_key_id": "local", "secret_access_key": "local"}
    sections = {"aws": {"endpoint_url": aws.endpoint, **keys}}
    return BoardLake(folder, f"s3://{aws.bucket()}/lake", sections)


class Member:
    """One process of the pipeline's group, which owns one partition: its sinks, no loop."""

    def __init__(
        self,
        config: Config,
        partition: int = 0,
        faults: FaultInjector | None = None,
        *,
        begins: bool = False,
    ) -> None:
        pipeline = config.pipeline("boards")
        self.process = process_of(pipeline, keep_values=True)
        self.sinks = sinks_of(
            config, "boards", self.process, SystemClock(), begins=begins, faults=faults
        )
        self.partition = Partition(TOPIC, str(partition))
        self._closing = ExitStack()
        for sink in self.sinks:
            self._closing.callback(sink.close)
        self.seek()

    def seek(self) -> None:
        """Read the positions, as after an assignment."""
        held = [sink.positions([self.partition])[self.partition] for sink in self.sinks]
        self.next = min((p.number if p else 0 for p in held), default=0)

    def batch(self, records: Sequence[Any]) -> Batch:
        """Return the next records of the partition as a batch; bytes are sent as they are."""
        values = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
        numbers = range(self.next, self.next + len(values))
        columns = {
            "_topic": [TOPIC] * len(values),
            "_partition": [int(self.partition.id)] * len(values),
            "_offset": list(numbers),
            "_key": [None] * len(values),
            "_timestamp": [BEGAN + timedelta(seconds=n) for n in numbers],
            VALUE: values,
            HEADERS: [None] * len(values),
        }
        schema = {**KAFKA.metadata, VALUE: pl.Binary(), HEADERS: HEADERS_DTYPE}
        start = KAFKA.before(self.next, None) if self.next else None
        span = Span(start, KAFKA.before(numbers.stop, None), len(values))
        frame = pl.DataFrame(columns, schema=schema)
        return self.process(Records(frame, {self.partition: span}, KAFKA))

    def write(self, *records: Any) -> None:
        """Write the records to all sinks, which defer nothing: positions are at their end."""
        batch = self.batch(records)
        for sink in self.sinks:
            sink.write(batch)
            sink.settle()
        self.next += len(records)

    def close(self) -> None:
        """Stop in order."""
        self._closing.close()


def write(config: Config, *records: Any, partition: int = 0) -> None:
    """Write the records as a member that starts, writes and stops."""
    member = Member(config, partition)
    member.write(*records)
    member.close()
