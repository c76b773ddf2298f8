"""Where a topic's partitions end, by a real broker: transactions, retention, faults, load."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from consumers.kafka import horizons as module
from consumers.kafka.source import KafkaSource
from core.batch import Partition, Position
from core.errors import TopicRecreated
from core.observer import NEVER, Horizon
from core.protocols import Source
from pinpip.local.java import FAST_FENCING, KafkaProcess
from tests.contracts.horizon_contract import Told, horizons_when, now
from tests.contracts.source_contract import Recorder, numbered, opened, read
from tests.support.brokers import Broker, frozen, own_kafka
from tests.support.kafka_backend import KafkaBackend
from tests.support.topics import create, delete, trim

SECOND = timedelta(seconds=1)
pytestmark = [pytest.mark.real_broker, pytest.mark.slow]


@pytest.fixture
def backend(broker: Broker) -> KafkaBackend:
    """Create a topic on the best broker."""
    return KafkaBackend(broker)


def newest(source: Source, seconds: float) -> dict[Partition, Horizon]:
    """Poll for some seconds; return the last horizon of each partition that was told."""
    deadline, found = time.monotonic() + seconds, dict[Partition, Horizon]()
    while time.monotonic() < deadline:
        source.poll(0.2)
        found |= source.horizons()
    return found


def collect(source: Source, told: list[Horizon]) -> None:
    """Poll for a minute and keep every horizon."""
    for _ in range(600):
        source.poll(0.1)
        told += source.horizons().values()


def since(moment: datetime, partition: Partition) -> Callable[[Told], bool]:
    """Whether the partition was told to be fresh after the moment."""
    return lambda told: partition in told and told[partition].until > moment


def test_an_open_transaction_holds_freshness_back_and_the_end(backend: KafkaBackend) -> None:
    first, others = backend.partitions[0], set(backend.partitions[1:])
    backend.broker.produce(backend.topic, numbered(4), partition=0)
    own = {"transactional.id": f"t-{backend.topic}"}
    producer = Producer(backend.broker.properties | own)
    producer.init_transactions(30)
    with opened(backend.source(), Recorder()) as source:
        horizons_when(source, since(now(), first))
        producer.begin_transaction()
        producer.produce(backend.topic, b"open", partition=0)
        producer.flush(30)
        begun = now()
        backend.broker.produce(backend.topic, numbered(3), partition=0)
        told = newest(source, 4)
        assert told[first].position == Position(4)
        assert told[first].until <= begun
        assert all(told[p].until > begun + SECOND for p in others)
        producer.commit_transaction(30)
        ended = horizons_when(source, since(now(), first))
        assert ended[first].position == Position(4 + 1 + 3 + 1)  # with the marker


def test_a_transaction_that_is_open_at_the_start_proves_nothing_and_is_told(
    backend: KafkaBackend,
) -> None:
    first = backend.partitions[0]
    producer = Producer(backend.broker.properties | {"transactional.id": f"t-{backend.topic}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(backend.topic, b"open", partition=0)
    producer.flush(30)
    with opened(backend.source(), Recorder()) as source:
        told = horizons_when(source, lambda told: first in told)
        assert told[first] == Horizon(Position(0), NEVER, 0)
        producer.abort_transaction(30)
        horizons_when(source, since(now(), first))


def test_retention_moves_the_first_offset(
    backend: KafkaBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRSTS_INTERVAL_S", 1.0)
    backend.broker.produce(backend.topic, numbered(20), partition=0)
    first = backend.partitions[0]
    with opened(backend.source(), Recorder()) as source:
        read(source, 20)
        assert horizons_when(source, lambda told: first in told)[first].begin == 0
        trim(backend.broker, backend.topic, 15)
        found = horizons_when(source, lambda told: first in told and told[first].begin == 15)
    assert found[first].position == Position(20)


def test_a_paused_reader_is_told_of_the_end_too(backend: KafkaBackend) -> None:
    first = backend.partitions[0]
    with opened(backend.source(), Recorder()) as source:
        horizons_when(source, lambda told: first in told)
        source.pause()
        backend.broker.produce(backend.topic, numbered(7), partition=0)
        assert horizons_when(source, since(now(), first))[first].position == Position(7)


def test_a_topic_of_the_same_name_is_never_told_as_the_one_that_is_read(broker: Broker) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, numbered(100))
    told: list[Horizon] = []
    with opened(KafkaSource(broker.properties, [topic], topic), Recorder()) as source:
        read(source, 100)
        admin = AdminClient(broker.properties)
        delete(admin, topic)
        create(admin, topic)
        with pytest.raises(TopicRecreated):
            collect(source, told)
    assert told
    assert {h.position for h in told} == {Position(100)}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    """Start a broker that tests may stop."""
    with own_kafka(tmp_path_factory.mktemp("kafka"), properties=FAST_FENCING) as own:
        yield own


def test_a_partition_whose_broker_does_not_respond_does_not_stay_fresh(kafka: KafkaProcess) -> None:
    backend = KafkaBackend(Broker(kafka.bootstrap, "own", real=True))
    first = backend.partitions[0]
    with opened(backend.source(), Recorder()) as source:
        horizons_when(source, lambda told: first in told)
        with frozen(kafka):
            stopped = now()
            told = newest(source, 8)
            assert all(horizon.until <= stopped for horizon in told.values())
        horizons_when(source, since(now(), first))


def test_a_partition_whose_broker_is_dead_does_not_stay_fresh(kafka: KafkaProcess) -> None:
    backend = KafkaBackend(Broker(kafka.bootstrap, "own", real=True))
    first = backend.partitions[0]
    with opened(backend.source(), Recorder()) as source:
        horizons_when(source, lambda told: first in told)
        kafka.kill()
        stopped = now()
        told = newest(source, 4)
        assert all(horizon.until <= stopped for horizon in told.values())
        kafka.start()
        horizons_when(source, since(now(), first))
