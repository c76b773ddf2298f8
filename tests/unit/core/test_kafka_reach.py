"""The first contact with a broker."""

import time

import pytest
from confluent_kafka import KafkaError, KafkaException

from core.kafka_errors import reach

CLOSED = KafkaException(KafkaError(KafkaError._TRANSPORT))


class Starting:
    """A client of a broker that closes each connection for some seconds, as it starts."""

    def __init__(self, seconds: float) -> None:
        self._ready = time.monotonic() + seconds
        self.asked = 0

    def list_topics(self, timeout: float) -> None:
        """Fail at once, as librdkafka does for a connection that is closed."""
        del timeout
        self.asked += 1
        if time.monotonic() < self._ready:
            raise CLOSED

    def poll(self, timeout: float) -> None:
        """Wait: no callback is due."""
        time.sleep(timeout)


def test_a_broker_that_closes_connections_is_waited_for() -> None:
    client = Starting(0.3)
    reach(client, [], set(), timeout=2.0)
    assert client.asked <= 4


def test_it_is_given_up_after_the_time() -> None:
    began = time.monotonic()
    with pytest.raises(KafkaException):
        reach(Starting(60.0), [], set(), timeout=0.4)
    assert 0.3 < time.monotonic() - began < 5.0
