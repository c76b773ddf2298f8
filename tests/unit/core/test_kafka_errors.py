"""The first contact with a broker: it succeeds, is denied at once, or times out."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from core.kafka_errors import AUTHENTICATION, reach

DENIED = KafkaError(KafkaError._AUTHENTICATION)
AWAY = KafkaError(KafkaError._TRANSPORT)


class FakeClient:
    """A client whose broker responds, or denies access, at the given attempt."""

    def __init__(self, responds: int | None = None, denies: int | None = None) -> None:
        self.responds, self.denies = responds, denies
        self.errors: list[KafkaError] = []
        self.timeouts: list[float] = []

    def list_topics(self, *, timeout: float) -> None:
        self.timeouts.append(timeout)
        if len(self.timeouts) != self.responds:
            raise KafkaException(AWAY)

    def poll(self, _timeout: float) -> None:
        self.errors.append(DENIED if len(self.timeouts) == self.denies else AWAY)

    def reach(self, timeout: float = 0.5) -> Any:
        return reach(self, self.errors, AUTHENTICATION, timeout)


@pytest.mark.parametrize("attempt", [1, 10])
def test_a_broker_that_responds_in_time_is_reached(attempt: int) -> None:
    client = FakeClient(responds=attempt)
    client.reach()
    assert len(client.timeouts) == attempt


def test_a_denied_client_fails_at_once() -> None:
    client = FakeClient(denies=2)
    with pytest.raises(KafkaException) as raised:
        client.reach()
    assert raised.value.args[0] is DENIED
    assert len(client.timeouts) == 2


@pytest.mark.parametrize("timeout", [0.5, 10.0])
def test_without_a_response_it_fails_after_the_timeout(timeout: float) -> None:
    client = FakeClient()
    with pytest.raises(KafkaException) as raised:
        client.reach(timeout)
    assert raised.value.args[0] is AWAY
    assert sum(client.timeouts) == pytest.approx(timeout)
