"""The sink contract on every sink, with Kafka's and with Kinesis's coordinates."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from benchmarks.models.delays import Profile
from benchmarks.models.process import Model, running
from core.batch import KAFKA, KINESIS, Coordinates
from sinks.storage.protocol import Store
from sinks.storage.s3 import S3Store, client
from sinks.storage.store import FolderStore
from tests.contracts.sink_contract import SinkBackend, SinkContract
from tests.support.aws import TestAws
from tests.support.delta_rs_log import DeltaRsLog
from tests.support.sink_backends import DeltaBackend, ParquetBackend

Fresh = Callable[[], SinkBackend]


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


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """Run the S3 of the benchmarks with short latencies."""
    with running("s3", tmp_path_factory.mktemp("model")) as started:
        started.begin(Profile(p50=0.001, p99=0.005), "lake")
        yield started


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


class TestDeltaInTheModelOfABucket(SinkContract):
    """The clean table, in the S3 that the benchmarks model."""

    examples = 3

    @pytest.fixture
    def fresh(self, model: Model, coordinates: Coordinates) -> Fresh:
        """Return a function that makes a new table."""
        aws = TestAws(model.section["endpoint_url"])
        connection = client(aws.config)
        return lambda: DeltaBackend(
            S3Store(connection, "lake", uuid4().hex), aws.storage_options, "clean", coordinates
        )


class TestQuarantineInAFolder(SinkContract):
    """The quarantine, on the machine's own disk."""

    examples = 15

    @pytest.fixture
    def fresh(self, folder: Callable[[], Store], coordinates: Coordinates) -> Fresh:
        """Return a function that makes a new table."""
        return lambda: DeltaBackend(folder(), dict, "rejected", coordinates)


class TestDeltaOnDeltaRsLog(SinkContract):
    """The clean table with the commit log of delta-rs: the sink needs no more than `CommitLog`."""

    examples = 3

    @pytest.fixture
    def fresh(self, folder: Callable[[], Store], monkeypatch: pytest.MonkeyPatch) -> Fresh:
        """Return a function that makes a new table."""
        monkeypatch.setattr("sinks.delta.sink.DeltaLog", DeltaRsLog)
        return lambda: DeltaBackend(folder(), dict, "clean", KAFKA)
