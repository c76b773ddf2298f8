"""Questions that no broker answers are asked again, or told in two lines: never a traceback."""

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from consumers.kafka import begins, topic_identity, watermarks
from consumers.kafka.begins import starts
from consumers.kafka.topic_identity import TopicIds
from consumers.kafka.watermarks import forgetful_topics, partitions_of
from core.errors import TransientError

NOBODY: dict[str, str | int | float | bool] = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (begins, watermarks):
        monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", 0.1)
    monkeypatch.setattr(topic_identity, "BUSY_TIMEOUT_S", 0.1)


@pytest.fixture
def consumer() -> Consumer:
    return Consumer({**NOBODY, "group.id": "nobody"})


def test_where_topics_begin_is_asked_again() -> None:
    ids = TopicIds.__new__(TopicIds)  # it is not asked before the partitions are known
    with pytest.raises(TransientError, match="no broker tells its topics"):
        starts(AdminClient(NOBODY), ids, ["pin"], from_end=False)


def test_the_ids_of_topics_need_a_broker(consumer: Consumer) -> None:
    with pytest.raises(TransientError, match="no broker tells its topics"):
        TopicIds(AdminClient(NOBODY), consumer)


def test_the_partitions_of_topics_need_a_broker(consumer: Consumer) -> None:
    with pytest.raises(TransientError, match="no broker tells its topics"):
        partitions_of(consumer, ["pin"])


def test_whether_topics_are_compacted_needs_a_broker() -> None:
    with pytest.raises(TransientError, match="no broker tells its topics"):
        forgetful_topics(NOBODY, ["pin"])
