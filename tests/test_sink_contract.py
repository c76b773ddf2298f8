"""The sink contract on every sink, with Kafka's and with Kinesis's coordinates."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

import polars as pl
import pytest

from pinpip.batch import KAFKA, KINESIS, Batch, Coordinates, Sink
from pinpip.clock import SystemClock
from pinpip.config import Aws
from sinks.delta import DeltaSink
from sinks.parquet import ParquetSink
from sinks.store import open_store
from tests.contracts.sink_contract import Backend, SinkContract
from tests.support.aws import TestAws
from tests.support.batches import delta_target

Fresh = Callable[[], Backend]


@dataclass
class ParquetBackend:
    """Chains of objects in a place of their own."""

    uri: str
    aws: Aws
    stage: Literal["raw", "clean"]
    coordinates: Coordinates

    def sink(self) -> Sink:
        """A new sink with a connection of its own."""
        return ParquetSink(open_store(self.uri, self.aws), self.stage, self.coordinates, "archive")

    def kept(self, batch: Batch) -> pl.DataFrame:
        """The frame of the stage."""
        return batch.raw if self.stage == "raw" else batch.clean

    def rows(self) -> pl.DataFrame:
        """All objects."""
        store = open_store(self.uri, self.aws)
        return pl.concat([pl.read_parquet(store.read(key)) for key in store.list("")])


@dataclass
class DeltaBackend:
    """A table of its own: the clean one, or the quarantine, which puts empty commits off."""

    uri: str
    aws: Aws
    options: dict[str, str]
    stage: Literal["clean", "rejected"]
    coordinates: Coordinates

    def sink(self) -> Sink:
        """A new sink with a connection of its own."""
        where = delta_target(self.uri, self.options, self.coordinates, self.stage)
        return DeltaSink("pin", where, open_store(self.uri, self.aws), SystemClock())

    def kept(self, batch: Batch) -> pl.DataFrame:
        """The frame of the stage."""
        return batch.clean if self.stage == "clean" else batch.rejected

    def rows(self) -> pl.DataFrame:
        """The whole table."""
        return pl.read_delta(self.uri, storage_options=self.options)


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def coordinates(request: pytest.FixtureRequest) -> Coordinates:
    """Both ways to name a record."""
    found: Coordinates = request.param
    return found


class TestParquetInAFolder(SinkContract):
    """Raw, on the machine's own disk."""

    examples = 40

    @pytest.fixture
    def fresh(self, tmp_path: Path, coordinates: Coordinates) -> Fresh:
        """A new folder each."""
        return lambda: ParquetBackend(str(tmp_path / uuid4().hex), Aws(), "raw", coordinates)


class TestParquetInABucket(SinkContract):
    """Clean, in S3."""

    examples = 5

    @pytest.fixture
    def fresh(self, aws: TestAws, coordinates: Coordinates) -> Fresh:
        """A new prefix each."""
        bucket = aws.bucket()
        return lambda: ParquetBackend(
            f"s3://{bucket}/lake/{uuid4().hex}", aws.config, "clean", coordinates
        )


class TestDeltaInAFolder(SinkContract):
    """The clean table, on the machine's own disk."""

    examples = 15

    @pytest.fixture
    def fresh(self, tmp_path: Path, coordinates: Coordinates) -> Fresh:
        """A new table each."""
        return lambda: DeltaBackend(str(tmp_path / uuid4().hex), Aws(), {}, "clean", coordinates)


class TestDeltaInABucket(SinkContract):
    """The clean table, in S3."""

    examples = 3

    @pytest.fixture
    def fresh(self, aws: TestAws, coordinates: Coordinates) -> Fresh:
        """A new table each."""
        bucket = aws.bucket()
        return lambda: DeltaBackend(
            f"s3://{bucket}/{uuid4().hex}", aws.config, aws.storage_options, "clean", coordinates
        )


class TestQuarantineInAFolder(SinkContract):
    """The quarantine, on the machine's own disk."""

    examples = 15

    @pytest.fixture
    def fresh(self, tmp_path: Path, coordinates: Coordinates) -> Fresh:
        """A new table each."""
        return lambda: DeltaBackend(str(tmp_path / uuid4().hex), Aws(), {}, "rejected", coordinates)
