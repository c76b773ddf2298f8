"""The source contract on every kind of source."""

import pytest

from tests.contracts.horizon_contract import HorizonContract
from tests.contracts.source_contract import NullsContract, SourceContract
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.kafka_backend import KafkaBackend
from tests.support.kinesis_backend import KinesisBackend


@pytest.mark.slow
class TestMockKafka(SourceContract, NullsContract, HorizonContract):
    """The embedded broker."""

    @pytest.fixture
    def backend(self, mock_broker: Broker) -> KafkaBackend:
        """Create a topic on the mock cluster."""
        return KafkaBackend(mock_broker)


@pytest.mark.real_broker
class TestRealKafka(SourceContract, NullsContract, HorizonContract):
    """The best broker there is."""

    @pytest.fixture
    def backend(self, broker: Broker) -> KafkaBackend:
        """Create a topic on the real broker."""
        return KafkaBackend(broker)


class TestKinesis(SourceContract, HorizonContract):
    """moto's server."""

    @pytest.fixture
    def backend(self, aws: TestAws) -> KinesisBackend:
        """Create a stream of two shards."""
        return KinesisBackend(aws)
