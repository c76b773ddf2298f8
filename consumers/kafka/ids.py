"""The ids of topics: the one thing that tells a topic from another of the same name.

The client fetches by name and says nothing when a topic was created again behind it, so the ids are
asked for beside each read. librdkafka's mock cluster has no ids, and loses all topics when it ends:
there the cluster's own id, new at each start, stands for those of its topics.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from core.batch import Partition, Position, Span
from core.topic_id import epoch_of, epoch_of_text, refuse_another

PATIENCE = 1.0
LONGEST = 10.0  # seconds that a busy broker may take
_MOCK = "mockCluster"
_LATE = {KafkaError._TIMED_OUT, KafkaError._TIMED_OUT_QUEUE, KafkaError._TRANSPORT}  # noqa: SLF001
_log = structlog.get_logger()
Asked = Mapping[str, Future[Any]]


class TopicIds:
    """Asks a cluster for the epochs of its topics; one that has no controller is never asked.

    Such a one is librdkafka's mock cluster: it would let every question wait. `tell`: whether an
    answer can be expected at all.
    """

    def __init__(self, admin: AdminClient, consumer: Consumer) -> None:
        cluster = consumer.list_topics(timeout=PATIENCE * 10)
        self._cluster = _epoch_of_mock(cluster.cluster_id or "")
        self._admin = admin if cluster.controller_id in cluster.brokers else None

    @property
    def tell(self) -> bool:
        """Whether this cluster has ids."""
        return self._admin is not None or self._cluster is not None

    def ask(self, topics: Collection[str], patience: float = LONGEST) -> Asked:
        """The question, sent but not waited for; brokers have `patience` seconds to answer."""
        if self._cluster is not None:
            return dict.fromkeys(topics, _told())
        if self._admin is None or not topics:
            return {}
        asked: Asked = self._admin.describe_topics(
            TopicCollection(list(topics)), request_timeout=patience
        )
        return asked

    def answers(self, asked: Asked, seconds: float = 2 * PATIENCE) -> dict[str, int]:
        """The epochs that the cluster told; a topic is left out when it did not, or not in time."""
        if self._cluster is not None:
            return dict.fromkeys(asked, self._cluster)
        told = {topic: _answer(topic, answer, seconds) for topic, answer in asked.items()}
        return {topic: epoch for topic, epoch in told.items() if epoch is not None}

    def late(self, asked: Asked) -> set[str]:
        """The topics of which no broker told anything in time: one may when it is asked again."""
        return {topic for topic, answer in asked.items() if _is_late(answer)}

    def now(self, topic: str) -> int | None:
        """The epoch of `topic`, or None when the cluster does not tell."""
        return self.answers(self.ask([topic])).get(topic)


class Epochs:
    """The epochs of the topics that are read: all that is known of one must agree."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def keep(self, topics: Collection[str]) -> None:
        """Forget all others."""
        self.known = {topic: epoch for topic, epoch in self.known.items() if topic in topics}

    def meet(self, partition: Partition, at: Position, found: int | None) -> None:
        """Raise TopicRecreated when `at`, or what the broker `found`, is of another epoch."""
        known = self.known.get(partition.source)
        refuse_another(partition, at, known)
        epoch = at.epoch if known is None else known
        refuse_another(partition, replace(at, epoch=epoch), found)
        epoch = found if epoch is None else epoch
        if epoch is not None:
            self.known[partition.source] = epoch


def patience(spans: Mapping[Partition, Span]) -> float:
    """How long the epochs of what was read are waited for.

    Nothing would tell a table without one from a table of another life: that is worth the longest.
    """
    dated = all(span.start and span.start.epoch is not None for span in spans.values())
    return 2 * PATIENCE if dated else LONGEST


def _answer(topic: str, answer: Future[Any], patience: float) -> int | None:
    try:
        found = answer.result(patience).topic_id
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
    """An answer that is not waited for."""
    told: Future[Any] = Future()
    told.set_result(None)
    return told


def _epoch_of_mock(cluster: str) -> int | None:
    """The epoch of all topics of a mock cluster; None for another cluster."""
    return epoch_of_text(cluster) if cluster.startswith(_MOCK) else None
