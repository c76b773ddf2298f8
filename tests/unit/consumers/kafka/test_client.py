"""What a consumer makes of librdkafka's errors."""

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from consumers.kafka.client import report
from core.errors import SourceError
from core.repeats import AGAIN_AFTER_S, Repeats
from core.retry import Outage
from tests.support.clock import ManualClock


def test_an_outage_of_all_brokers_is_counted_by_librdkafkas_name() -> None:
    kinds: list[str] = []
    outage = Outage("source", ManualClock(), kinds.append)
    report(KafkaError(KafkaError._ALL_BROKERS_DOWN), outage, Repeats(ManualClock()))
    report(KafkaError(KafkaError._TRANSPORT), outage, Repeats(ManualClock()))
    assert kinds == ["_ALL_BROKERS_DOWN"]
    assert outage.hint


def test_what_no_waiting_repairs_is_raised() -> None:
    outage = Outage("source", ManualClock())
    with pytest.raises(SourceError):
        report(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), outage, Repeats(ManualClock()))
    assert not outage.seconds()


def test_an_error_that_repeats_is_logged_once_a_minute() -> None:
    clock = ManualClock()
    outage, repeats = Outage("source", clock), Repeats(clock)
    with capture_logs() as logs:
        for _ in range(100):
            report(KafkaError(KafkaError._RESOLVE), outage, repeats)
        clock.advance(AGAIN_AFTER_S)
        report(KafkaError(KafkaError._RESOLVE), outage, repeats)
    assert [(log["event"], log["repeats"]) for log in logs] == [
        ("kafka_error", None),
        ("kafka_error", 99),
    ]
