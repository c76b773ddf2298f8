"""A poll takes few bytes, however large the records are."""

import pytest

from consumers.kafka.bounded_poll import MOST_BYTES
from consumers.kafka.source import KafkaSource
from core.batch import Records
from tests.contracts.source_contract import Recorder, opened
from tests.support.brokers import Broker
from tests.support.processes import until

_LARGE = 900_000
_MOST = 16 * _LARGE  # of the first poll, which knows nothing of the records


def _polls(broker: Broker, values: list[bytes], budget: int) -> list[Records]:
    topic = broker.create_topic()
    broker.produce(topic, values)
    source = KafkaSource(broker.properties, [topic], topic, budget=budget)
    found: list[Records] = []

    def ended() -> bool:
        records = source.poll(1.0)
        if records is not None:
            found.append(records)
        return sum(r.frame.height for r in found) == len(values)

    with opened(source, Recorder()):
        until(ended, "all records")
    return found


@pytest.mark.real_broker  # the mock cluster keeps 5 MB of a partition
def test_polls_of_large_records_are_bounded(broker: Broker) -> None:
    first, *others = _polls(broker, [b"x" * _LARGE] * 60, 256 << 20)
    assert first.nbytes <= _MOST * 1.01
    assert max(r.nbytes for r in others) <= MOST_BYTES + _LARGE


def test_a_record_beyond_the_budget_is_read(mock_broker: Broker) -> None:
    assert _polls(mock_broker, [b"x" * _LARGE] * 3, 1000)


def test_small_records_come_many_at_a_time(mock_broker: Broker) -> None:
    polls = _polls(mock_broker, [b"x" * 100] * 20_000, 256 << 20)
    assert max(r.frame.height for r in polls) > 1000
