"""The ids of topics: only they distinguish a topic from a later one of the same name.

The client fetches by name and does not report that a topic was created again. So the ids are
requested beside each read. librdkafka's mock cluster has no ids, and loses all topics when it ends:
there the id of the cluster, new at each start, is used for its topics.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from consumers.kafka.client import metadata_of
from core.batch import Partition, Position, Records, Span
from core.topic_id import EPOCH_MASK, epoch_of_text, refuse_another

ANSWER_TIMEOUT_S = 2.0  # for an id that confirms a known one
BUSY_TIMEOUT_S = 10.0  # the same of a busy broker, where only the id can decide
_MOCK = "mockCluster"
_LATE = {KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._TRANSPORT}  # noqa: SLF001
_log = structlog.get_logger()
Asked = Mapping[str, Future[Any]]


class TopicIds:
    """Requests the epochs of topics from a cluster.

    A cluster without a controller is never asked: librdkafka's mock cluster would not answer.
    """

    def __init__(self, admin: AdminClient, consumer: Consumer) -> None:
        cluster = metadata_of(consumer, BUSY_TIMEOUT_S)
        self._cluster = _epoch_of_mock(cluster.cluster_id or "")
        self._admin = admin if cluster.controller_id in cluster.brokers else None

    @property
    def tell(self) -> bool:
        """Whether this cluster has ids: else no answer can be expected."""
        return self._admin is not None or self._cluster is not None

    def ask(self, topics: Collection[str], timeout: float = BUSY_TIMEOUT_S) -> Asked:
        """Send the request and do not wait; brokers have `timeout` seconds to answer."""
        if self._cluster is not None:
            return dict.fromkeys(topics, _told())
        if self._admin is None or not topics:
            return {}
        asked: Asked = self._admin.describe_topics(
            TopicCollection(list(topics)), request_timeout=timeout
        )
        return asked

    def answers(self, asked: Asked, timeout: float = ANSWER_TIMEOUT_S) -> dict[str, int]:
        """Return the epochs; a topic is left out when no answer came within `timeout` seconds."""
        if self._cluster is not None:
            return dict.fromkeys(asked, self._cluster)
        told = {topic: _answer(topic, answer, timeout) for topic, answer in asked.items()}
        return {topic: epoch for topic, epoch in told.items() if epoch is not None}

    def late(self, asked: Asked) -> set[str]:
        """Return the topics without an answer in time: a later request may get one."""
        return {topic for topic, answer in asked.items() if _is_late(answer)}

    def now(self, topic: str) -> int | None:
        """Return the epoch of `topic`, or None when the cluster does not tell it."""
        return self.answers(self.ask([topic])).get(topic)


class TopicIdentity:
    """The epochs of the topics that one reader reads: all that is known of one must agree."""

    def __init__(self, ids: TopicIds) -> None:
        self.ids = ids
        self._known: dict[str, int] = {}
        self._asked: Asked = {}

    def keep(self, topics: Collection[str]) -> None:
        """Forget all other topics."""
        self._known = {topic: epoch for topic, epoch in self._known.items() if topic in topics}

    def restart(self) -> None:
        """Forget the last request of `watch`: it may have met another topic of that name."""
        self._asked = {}

    def check(self, partition: Partition, at: Position, found: int | None) -> None:
        """Raise TopicRecreated when `at`, or what the broker `found`, has another epoch."""
        known = self._known.get(partition.source)
        epochs = [epoch for epoch in (at.epoch, known, found) if epoch is not None]
        if len(set(epochs)) > 1:
            for held, other in pairwise(epochs):
                refuse_another(partition, replace(at, epoch=held), other)
        if epochs:
            self._known[partition.source] = epochs[0]

    def watch(self, offsets: Mapping[Partition, int]) -> None:
        """Check the topics of an idle reader, by the answer to the request of the call before."""
        found = self.ids.answers(self._asked, 0)
        for partition, offset in offsets.items():
            self.check(partition, Position(offset), found.get(partition.source))
        self._asked = self.ids.ask({partition.source for partition in offsets})

    def dated(self, records: Records, asked: Asked) -> Records:
        """Return the records with the epoch that was known before they were fetched.

        `asked` was requested after the fetch: its answer must be the same epoch.
        """
        found, known = self.ids.answers(asked, _timeout(records.spans)), dict(self._known)
        spans: dict[Partition, Span] = {}
        for partition, span in records.spans.items():
            now = found.get(partition.source)
            self.check(partition, span.start or Position(0), now)
            epoch = now if now == known.get(partition.source) else None
            spans[partition] = replace(span, end=replace(span.end, epoch=epoch))
        return replace(records, spans=spans)


def _timeout(spans: Mapping[Partition, Span]) -> float:
    """Return how many seconds to wait for the epochs of what was read.

    A position without an epoch cannot be told from one of another topic: that is worth the longest
    wait.
    """
    dated = all(span.start and span.start.epoch is not None for span in spans.values())
    return ANSWER_TIMEOUT_S if dated else BUSY_TIMEOUT_S


def epoch_of(most: int, least: int) -> int | None:
    """Return the epoch of the id with these (signed) halves; None for a topic without an id."""
    return least & EPOCH_MASK if most or least else None


def _answer(topic: str, answer: Future[Any], timeout: float) -> int | None:
    try:
        found = answer.result(timeout).topic_id
    except (KafkaException, TimeoutError) as error:
        _log.debug("kafka_topic_id_unknown", topic=topic, error=str(error))
        return None
    return epoch_of(found.get_most_significant_bits(), found.get_least_significant_bits())


def _is_late(answer: Future[Any]) -> bool:
    error = answer.exception() if answer.done() else TimeoutError()
    return isinstance(error, TimeoutError) or (
        isinstance(error, KafkaException) and error.args[0].code() in _LATE
    )


def _told() -> Future[Any]:
    """Return an answer that is there already."""
    told: Future[Any] = Future()
    told.set_result(None)
    return told


def _epoch_of_mock(cluster: str) -> int | None:
    """Return the epoch of all topics of a mock cluster; None for another cluster."""
    return epoch_of_text(cluster) if cluster.startswith(_MOCK) else None
