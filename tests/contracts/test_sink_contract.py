"""The sink contract on every sink, with Kafka's and with Kinesis's coordinates."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import uuid4

import polars as pl
import pytest

from core.batch import KAFKA, KINESIS, Batch, Coordinates
from core.clock import SystemClock
from core.protocols import Options, Sink
from sinks.delta.sink import DeltaSink
from sinks.parquet.sink import ParquetSink
from sinks.storage.protocol import Store
from sinks.storage.s3 import S3Store, client
from sinks.storage.store import FolderStore
from tests.contracts.sink_contract import Backend, SinkContract
from tests.support.aws import TestAws
from tests.support.batches import delta_target

Fresh = Callable[[], Backend]


@dataclass
class ParquetBackend:
    """Chains of objects in a place of their own."""

    store: Store
    stage: Literal["raw", "clean"]
    coordinates: Coordinates

    def sink(self) -> Sink:
        """Make a new sink."""
        return ParquetSink(self.store, self.stage, self.coordinates, "archive")

    def kept(self, batch: Batch) -> pl.DataFrame:
        """Return the frame of the stage."""
        return batch.raw if self.stage == "raw" else batch.clean

    def rows(self) -> pl.DataFrame:
        """All objects."""
        return pl.concat([pl.read_parquet(self.store.read(key)) for key in self.store.list("")])


@dataclass
class DeltaBackend:
    """A table of its own: the clean one, or the quarantine, which puts empty commits off."""

    store: Store
    options: Options
    stage: Literal["clean", "rejected"]
    coordinates: Coordinates

    def sink(self) -> Sink:
        """Make a new sink."""
        where = delta_target(self.store.uri, self.options, self.coordinates, self.stage)
        return DeltaSink("pin", where, self.store, SystemClock())

    def kept(self, batch: Batch) -> pl.DataFrame:
        """Return the frame of the stage."""
        return batch.clean if self.stage == "clean" else batch.rejected

    def rows(self) -> pl.DataFrame:
        """Read the whole table."""
        return pl.read_delta(self.store.uri, storage_options=self.options())


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def coordinates(request: pytest.FixtureRequest) -> Coordinates:
    """Both ways to name a record."""
    found: Coordinates = request.param
    return found


@pytest.fixture(scope="module")
def s3(aws: TestAws) -> Callable[[], Store]:
    """Empty prefixes of one bucket, over one connection."""
    bucket, connection = aws.bucket(), client(aws.config)
    return lambda: S3Store(connection, bucket, f"lake/{uuid4().hex}")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[], Store]:
    """Empty folders."""
    return lambda: FolderStore(tmp_path / uuid4().hex)


class TestParquetInAFolder(SinkContract):
    """Raw, on the machine's own disk."""

    examples = 40

    @pytest.fixture
    def fresh(self, folder: Callable[[], Store], coordinates: Coordinates) -> Fresh:
        """Return a function that makes an archive in a new folder."""
        return lambda: ParquetBackend(folder(), "raw", coordinates)


class TestParquetInABucket(SinkContract):
    """Clean, in S3."""

    examples = 5

    @pytest.fixture
    def fresh(self, s3: Callable[[], Store], coordinates: Coordinates) -> Fresh:
        """Return a function that makes an archive below a new prefix."""
        return lambda: ParquetBackend(s3(), "clean", coordinates)


class TestDeltaInAFolder(SinkContract):
    """The clean table, on the machine's own disk."""

    examples = 15

    @pytest.fixture
    def fresh(self, folder: Callable[[], Store], coordinates: Coordinates) -> Fresh:
        """Return a function that makes a new table."""
        return lambda: DeltaBackend(folder(), dict, "clean", coordinates)


class TestDeltaInABucket(SinkContract):
    """The clean table, in S3."""

    examples = 3

    @pytest.fixture
    def fresh(self, aws: TestAws, s3: Callable[[], Store], coordinates: Coordinates) -> Fresh:
        """Return a function that makes a new table."""
        return lambda: DeltaBackend(s3(), aws.storage_options, "clean", coordinates)


class TestQuarantineInAFolder(SinkContract):
    """The quarantine, on the machine's own disk."""

    examples = 15

    @pytest.fixture
    def fresh(self, folder: Callable[[], Store], coordinates: Coordinates) -> Fresh:
        """Return a function that makes a new table."""
        return lambda: DeltaBackend(folder(), dict, "rejected", coordinates)
