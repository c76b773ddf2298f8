"""Kafka behind the source contract."""

from collections.abc import Sequence
from uuid import uuid4

from consumers.kafka.source import KafkaSource
from core.batch import KAFKA, Partition
from tests.support.brokers import Broker


class KafkaBackend:
    """A new topic of four partitions and a new group."""

    coordinates = KAFKA

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.topic = broker.create_topic()
        self.group = f"g{uuid4().hex[:12]}"
        self.partitions = [Partition(self.topic, str(n)) for n in range(4)]

    def fill(self, values: Sequence[bytes | None]) -> None:
        """Round the partitions."""
        self.broker.produce(self.topic, values)

    def source(self, **options: object) -> KafkaSource:
        """Make a member of the group."""
        return KafkaSource(self.broker.consumer_properties, [self.topic], self.group, **options)  # type: ignore[arg-type]  # options of the tests
