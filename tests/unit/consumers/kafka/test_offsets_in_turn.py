"""Requests for offsets, one at a time: two at once can crash the process in librdkafka."""

from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.offsets import FIRST, LAST, InTurn, Offsets, PlacementRequest, Question
from core.batch import Partition

P0, P1 = Partition("pin", "0"), Partition("pin", "1")
LEVEL = IsolationLevel.READ_COMMITTED


class Broker:
    """A client whose requests are answered when the test says so."""

    def __init__(self) -> None:
        self.sent: list[Mapping[TopicPartition, Future[Any]]] = []

    def list_offsets(
        self, wanted: Mapping[TopicPartition, object], **_: object
    ) -> Mapping[TopicPartition, Future[Any]]:
        assert all(future.done() for one in self.sent for future in one.values())
        self.sent.append({partition: Future() for partition in wanted})
        return self.sent[-1]

    def answer(self, offset: int) -> None:
        for future in self.sent[-1].values():
            future.set_result(SimpleNamespace(offset=offset))

    @property
    def admin(self) -> AdminClient:
        return cast("AdminClient", self)


def test_the_next_request_is_sent_once_the_one_before_is_answered() -> None:
    broker = Broker()
    asked = InTurn(broker.admin, [Question([P0, P1], spec, LEVEL) for spec in (FIRST, LAST)], 1.0)
    assert not asked.is_answered()
    assert len(broker.sent) == 1
    broker.answer(3)
    assert not asked.is_answered()
    assert len(broker.sent) == 2
    broker.answer(9)
    assert asked.is_answered()
    assert [{p: a.result().offset for p, a in own.items()} for own in asked.answers] == [
        {P0: 3, P1: 3},
        {P0: 9, P1: 9},
    ]


def test_nothing_is_sent_while_a_request_for_metadata_is_under_way() -> None:
    broker, metadata = Broker(), Future[Any]()
    request = PlacementRequest(broker.admin, [P0], {"pin": metadata})
    assert not request.is_answered(0.0)
    assert broker.sent == []
    metadata.set_result(None)
    assert not request.is_answered(0.0)
    assert len(broker.sent) == 1


def test_a_question_about_no_partition_is_not_sent() -> None:
    broker = Broker()
    asked = InTurn(broker.admin, [Question([], FIRST, LEVEL)], 1.0)
    assert asked.is_answered()
    assert (broker.sent, asked.answers) == ([], [{}])


def test_ends_are_the_answers_to_both_requests() -> None:
    broker = Broker()
    ends = Offsets(broker.admin, [P0])
    for offset in (3, 9):
        ends.is_answered(0.0)
        broker.answer(offset)
    assert ends.answers() == {P0: (3, 9)}
