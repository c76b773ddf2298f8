"""What a consumer makes of librdkafka's errors."""

import pytest
from confluent_kafka import KafkaError

from consumers.kafka.client import report
from core.errors import SourceError
from core.retry import Outage
from tests.support.clock import ManualClock


def test_an_outage_of_all_brokers_is_counted_by_librdkafkas_name() -> None:
    kinds: list[str] = []
    outage = Outage("source", ManualClock(), kinds.append)
    report(KafkaError(KafkaError._ALL_BROKERS_DOWN), outage)
    report(KafkaError(KafkaError._TRANSPORT), outage)
    assert kinds == ["_ALL_BROKERS_DOWN"]
    assert outage.hint


def test_what_no_waiting_repairs_is_raised() -> None:
    outage = Outage("source", ManualClock())
    with pytest.raises(SourceError):
        report(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), outage)
    assert not outage.seconds()
