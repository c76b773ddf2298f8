"""The gateway as it runs, on a free port, and what tests read back from its brokers."""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition

from core.config import Aws, Gateway
from gateway.app import create_app
from gateway.kafka.api import Port
from gateway.kafka.cluster import KafkaCluster
from gateway.kafka.producer import KafkaProducer
from gateway.server import GatewayServer, kinesis_client, listen
from tests.support.waiting import PATIENCE

JSON_FORMAT = {"Content-Type": "application/vnd.kafka.json.v2+json"}
BINARY_FORMAT = {"Content-Type": "application/vnd.kafka.binary.v2+json"}
NO_BROKER = {"bootstrap.servers": "127.0.0.1:9"}
NOWHERE = Aws.model_validate(
    {"endpoint_url": "http://127.0.0.1:9", "access_key_id": "x", "secret_access_key": "x"}
)


class Read(NamedTuple):
    """One record as a consumer got it."""

    partition: int | None
    offset: int | None
    key: bytes | None
    value: bytes | None


@contextmanager
def running(
    kafka: Port | Mapping[str, Any],
    *,
    settings: Gateway | None = None,
    kinesis: Any = None,
    served: Collection[str] = (),
) -> Iterator[str]:
    """Run a gateway on loopback; yield its URL without a stage."""
    port = KafkaProducer(kafka) if isinstance(kafka, Mapping) else kafka
    cluster = KafkaCluster(kafka if isinstance(kafka, Mapping) else NO_BROKER)
    streams = kinesis or kinesis_client(NOWHERE)
    own = (settings or Gateway()).model_copy(update={"port": 0})
    app = create_app(own, port, cluster, streams, served)
    listens = threading.Event()
    server = GatewayServer(app, own, listens.set)
    with listen(own) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert listens.wait(10)
            yield url
        finally:
            server.should_exit = True
            thread.join()


def read(bootstrap: str, topic: str, count: int, partitions: int = 4) -> list[Read]:
    """Read the first `count` records of the topic, by partition and offset; fail on fewer."""
    with _reading(bootstrap, topic, partitions) as consumer:
        messages = consumer.consume(count, timeout=PATIENCE)
    assert len(messages) == count
    assert [message.error() for message in messages] == [None] * count
    return sorted(Read(m.partition(), m.offset(), m.key(), m.value()) for m in messages)


def everything(bootstrap: str, topic: str, partitions: int = 4) -> list[Read]:
    """All that the topic holds now, by partition and offset."""
    with _reading(bootstrap, topic, partitions) as consumer:
        places = [TopicPartition(topic, n) for n in range(partitions)]
        ends = [consumer.get_watermark_offsets(place, timeout=PATIENCE) for place in places]
    return read(bootstrap, topic, sum(end - first for first, end in ends), partitions)


@contextmanager
def _reading(bootstrap: str, topic: str, partitions: int) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, n, 0) for n in range(partitions)])
    try:
        yield consumer
    finally:
        consumer.close()
