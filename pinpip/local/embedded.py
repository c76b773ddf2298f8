"""Run Kafka and AWS inside this process: no Docker, no Java.

The Kafka is librdkafka's mock cluster: a topic is created with four partitions on first use, and
each partition drops its oldest records beyond about 5 MB: it is for bounded runs only.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from confluent_kafka.admin import AdminClient

from core.errors import ConfigError

PARTITIONS = 4


@contextmanager
def embedded_kafka() -> Iterator[str]:
    """Run a mock cluster while the block runs; yields its bootstrap servers."""
    settings: dict[str, str | int | float | bool] = {
        "test.mock.num.brokers": 1,
        "bootstrap.servers": "mock:9092",
        "log_level": 4,
    }
    cluster = AdminClient(settings)
    brokers = cluster.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{b.host}:{b.port}" for b in brokers)
    del cluster


@contextmanager
def embedded_aws() -> Iterator[str]:
    """Run moto's server (S3, Kinesis, DynamoDB) on a free port of 127.0.0.1; yields its URL.

    Raises ConfigError when moto is not installed.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # by default it logs every request
    server = _moto().ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def _moto() -> ModuleType:
    try:
        from moto import server  # heavy, and an extra
    except ImportError as error:
        raise ConfigError(
            "the embedded AWS needs moto, which is not installed",
            "pip install 'pinpip[local]'",
        ) from error
    return server
