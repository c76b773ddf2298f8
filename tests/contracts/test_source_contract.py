"""The source contract on every kind of source."""

from pathlib import Path

import pytest

from core.batch import KAFKA, KINESIS
from sinks.storage.store import FolderStore, open_store
from tests.contracts.horizon_contract import HorizonContract
from tests.contracts.source_contract import (
    BytesContract,
    LiveContract,
    NullsContract,
    SourceContract,
)
from tests.support.archive_backend import ArchiveBackend
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.connect_folder import ConnectBackend
from tests.support.kafka_backend import KafkaBackend
from tests.support.kinesis_backend import KinesisBackend


@pytest.mark.slow
class TestMockKafka(LiveContract, BytesContract, NullsContract, HorizonContract):
    """The embedded broker."""

    @pytest.fixture
    def backend(self, mock_broker: Broker) -> KafkaBackend:
        """Create a topic on the mock cluster."""
        return KafkaBackend(mock_broker)


@pytest.mark.real_broker
class TestRealKafka(LiveContract, BytesContract, NullsContract, HorizonContract):
    """The best broker there is."""

    @pytest.fixture
    def backend(self, broker: Broker) -> KafkaBackend:
        """Create a topic on the real broker."""
        return KafkaBackend(broker)


class TestKinesis(LiveContract, BytesContract, HorizonContract):
    """moto's server."""

    @pytest.fixture
    def backend(self, aws: TestAws) -> KinesisBackend:
        """Create a stream of two shards."""
        return KinesisBackend(aws)


class TestArchiveInAFolder(SourceContract, BytesContract, NullsContract):
    """What the archive of a topic holds."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> ArchiveBackend:
        """Make an empty archive."""
        return ArchiveBackend(FolderStore(tmp_path), KAFKA)


class TestArchiveOfAStream(SourceContract, BytesContract):
    """What the archive of a stream holds."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> ArchiveBackend:
        """Make an empty archive."""
        return ArchiveBackend(FolderStore(tmp_path), KINESIS)


class TestArchiveInABucket(SourceContract, BytesContract, NullsContract):
    """The same on moto's S3."""

    @pytest.fixture
    def backend(self, aws: TestAws) -> ArchiveBackend:
        """Make an empty bucket."""
        return ArchiveBackend(open_store(f"s3://{aws.bucket()}/raw", aws.config), KAFKA)


class TestConnectInAFolder(SourceContract):
    """What Kafka Connect's S3 sink wrote."""

    @pytest.fixture(params=["json", "json.gz"])
    def backend(self, request: pytest.FixtureRequest, tmp_path: Path) -> ConnectBackend:
        """Make an empty folder."""
        return ConnectBackend(FolderStore(tmp_path), request.param)


class TestConnectInABucket(SourceContract):
    """The same on moto's S3."""

    @pytest.fixture
    def backend(self, aws: TestAws) -> ConnectBackend:
        """Make an empty bucket."""
        return ConnectBackend(open_store(f"s3://{aws.bucket()}/topics", aws.config))
