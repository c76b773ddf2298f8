"""A pipeline's tables and archive, written by the real sinks, and the damage tests do to them."""

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction

from audit.archive import Archive
from core.batch import Batch, Coordinates, Position
from core.clock import SystemClock
from core.config import Aws
from core.protocols import Options
from sinks.delta import positions
from sinks.delta.sink import DeltaSink
from sinks.delta.target import Tables
from sinks.parquet.sink import ParquetSink
from sinks.storage.store import open_store
from tests.support.batches import APP, RecordLog, delta_target

A, B = 0, 1
Stage = Literal["clean", "rejected"]


@dataclass(frozen=True)
class Pair:
    """A clean table and its quarantine, written by real sinks."""

    root: str
    coordinates: Coordinates
    aws: Aws = field(default_factory=Aws)
    options: Options = dict

    @property
    def log(self) -> RecordLog:
        """What they are written from."""
        return RecordLog(self.coordinates)

    @property
    def tables(self) -> Tables:
        """What verify is told."""
        return Tables(self.uri("clean"), self.uri("rejected"), self.options, self.coordinates, APP)

    @property
    def archive(self) -> Archive:
        """What verify is told of the raw archive beside them."""
        return Archive(open_store(self.uri("archive"), self.aws), "raw", self.coordinates)

    def uri(self, stage: str) -> str:
        """One of them."""
        return f"{self.root}/{stage}"

    def table(self, stage: Stage) -> DeltaTable:
        """One of the two, opened."""
        return DeltaTable(self.uri(stage), storage_options=self.options())

    def sink(self, stage: Stage) -> DeltaSink:
        """Make a fresh sink on one of the tables."""
        uri = self.uri(stage)
        where = delta_target(uri, self.options, self.coordinates, stage)
        return DeltaSink(stage, where, open_store(uri, self.aws), SystemClock())

    def archiver(self) -> ParquetSink:
        """Make a fresh sink on the archive."""
        return ParquetSink(self.archive.store, "raw", self.coordinates, "archive")

    def write(self, *batches: Batch, stages: tuple[Stage, ...] = ("clean", "rejected")) -> None:
        """Write the log as a consumer does from its start to a clean stop."""
        for stage in stages:
            with closing(self.sink(stage)) as sink:
                sink.positions([self.log.partition(A), self.log.partition(B)])
                for batch in batches:
                    sink.write(batch)

    def archived(self, *batches: Batch) -> None:
        """Write the archive as the same consumer does."""
        with closing(self.archiver()) as sink:
            sink.positions([self.log.partition(A), self.log.partition(B)])
            for batch in batches:
                sink.write(batch)

    def objects(self, index: int) -> list[Path]:
        """Return the archive's objects of a partition, in order; for a folder."""
        return sorted(Path(self.uri("archive")).rglob(f"*{self.log.partition(index).id}+*.parquet"))

    def drop(self, stage: Stage, index: int, n: int) -> None:
        """Lose the nth record of a partition."""
        (row,) = self.rows(stage).filter(pl.col("_key") == f"key-{n}").rows(named=True)[:1]
        names = [name for name in self.coordinates.identity if name != self.coordinates.partition]
        partition = self.log.partition(index).id
        same = [f"{name} = {_sql(row[name])}" for name in names]
        same.append(f"CAST({self.coordinates.partition} AS STRING) = '{partition}'")
        assert self.table(stage).delete(" AND ".join(same))["num_deleted_rows"] == 1

    def change(self, stage: Stage, n: int, **values: str) -> None:
        """Give the nth record of every partition other values, SQL each, at the same place."""
        key = f"{self.coordinates.key} = 'key-{n}'"
        assert self.table(stage).update(values, predicate=key)["num_updated_rows"] > 0

    def rows(self, stage: Stage) -> pl.DataFrame:
        """All rows, with the key column under one name."""
        frame = pl.read_delta(self.uri(stage), storage_options=self.options())
        return frame.with_columns(pl.col(self.coordinates.key).alias("_key"))

    def commit(self, stage: Stage, transactions: list[Transaction]) -> None:
        """Another hand's commit: positions, no rows, no ledger entry."""
        table = self.table(stage)
        table.create_write_transaction(
            [],
            "append",
            table.schema(),
            commit_properties=CommitProperties(app_transactions=transactions),
        )

    def move(self, stage: Stage, index: int, position: Position) -> None:
        """Put the stored position of a partition elsewhere."""
        own = positions.app_id(APP, self.log.partition(index))
        lookup = self.table(stage).transaction_version
        self.commit(stage, positions.write(lookup, own, position, self.coordinates, 1))

    def logs(self, stage: Stage) -> list[Path]:
        """Return the JSON commits, oldest first."""
        return sorted(Path(self.uri(stage), "_delta_log").glob("*.json"))

    def forget(self, stage: Stage, *, but: int = 0) -> None:
        """Expire the log but for its newest commits; a checkpoint stays."""
        self.table(stage).create_checkpoint()
        logs = self.logs(stage)
        for path in logs[: len(logs) - but]:
            path.unlink()


def _sql(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
