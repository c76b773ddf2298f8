"""The REST Proxy's reads of metadata, on a real broker and on the mock cluster.

Bodies: kafka-rest 8.5.0, entities/v2/{BrokerList,GetTopicResponse,GetPartitionResponse,
TopicPartitionOffsetResponse}.java; codes: Errors.java and KafkaExceptionMapper of rest-utils 8.5.
"""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata, PartitionMetadata, TopicMetadata

from gateway.http.responses import Refusal
from gateway.kafka.cluster import KafkaCluster, refusal
from gateway.kafka.producer import METADATA_TIMEOUT_S
from tests.support.brokers import Broker
from tests.support.gateways import JSON_FORMAT, NO_BROKER, running

NO_TOPIC = {"error_code": 40401, "message": "Topic not found."}
NO_PARTITION = {"error_code": 40402, "message": "Partition not found."}
NOT_FOUND = {"error_code": 404, "message": "HTTP 404 Not Found"}


@pytest.fixture(scope="module")
def url(broker: Broker) -> Iterator[str]:
    with running(broker.properties) as running_url:
        yield f"{running_url}/test"


@pytest.fixture(scope="module")
def mock_url(mock_broker: Broker) -> Iterator[str]:
    with running(mock_broker.properties) as running_url:
        yield f"{running_url}/test"


@pytest.fixture
def topic(broker: Broker) -> str:
    return broker.create_topic()


def get(url: str, path: str) -> Any:
    answer = requests.get(f"{url}{path}", timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_root_is_an_empty_object(url: str) -> None:
    assert get(url, "/") == {}


def test_the_brokers_are_listed_by_id(broker: Broker, url: str) -> None:
    ids = AdminClient(broker.properties).list_topics(timeout=10).brokers
    assert get(url, "/brokers") == {"brokers": sorted(ids)}


def test_the_topics_are_listed_by_name(broker: Broker, url: str) -> None:
    made = {broker.create_topic() for _ in range(3)}

    found = get(url, "/topics")
    assert found == sorted(found)
    assert made <= set(found)


@pytest.mark.real_broker
def test_kafkas_own_topics_are_not_listed(broker: Broker, url: str, topic: str) -> None:
    commit_something(broker, topic)
    admin = AdminClient(broker.properties)

    assert "__consumer_offsets" in admin.list_topics(timeout=10).topics
    assert "__consumer_offsets" not in get(url, "/topics")


def commit_something(broker: Broker, topic: str) -> None:
    consumer = Consumer(broker.properties | {"group.id": uuid4().hex})
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    consumer.close()


@pytest.mark.real_broker
def test_a_topic_is_told_with_its_configuration(broker: Broker, url: str) -> None:
    topic = broker.create_topic(partitions=2, cleanup_policy="compact")
    found = get(url, f"/topics/{topic}")

    assert found["name"] == topic
    assert found["configs"]["cleanup.policy"] == "compact"
    assert found["configs"]["max.message.bytes"].isdigit()
    assert found["partitions"] == get(url, f"/topics/{topic}/partitions")


def test_a_cluster_without_a_controller_has_an_empty_configuration(
    mock_broker: Broker, mock_url: str
) -> None:
    topic = mock_broker.create_topic()
    found = get(mock_url, f"/topics/{topic}")

    assert (found["name"], found["configs"]) == (topic, {})
    assert [partition["partition"] for partition in found["partitions"]] == [0, 1, 2, 3]


def test_the_partitions_name_their_replicas(url: str, topic: str) -> None:
    (broker_id,) = get(url, "/brokers")["brokers"]
    replica = {"broker": broker_id, "leader": True, "in_sync": True}

    assert get(url, f"/topics/{topic}/partitions") == [
        {"partition": n, "leader": broker_id, "replicas": [replica]} for n in range(4)
    ]


def test_one_partition_is_told_as_in_the_list(url: str, topic: str) -> None:
    assert get(url, f"/topics/{topic}/partitions/2") == get(url, f"/topics/{topic}/partitions")[2]


def test_what_is_sent_to_a_partition_is_counted_by_its_offsets(url: str, topic: str) -> None:
    path, body = f"{url}/topics/{topic}/partitions/3", {"records": [{"value": n} for n in range(7)]}
    answer = requests.post(path, json=body, headers=JSON_FORMAT, timeout=30)

    sent = [(offset["partition"], offset["offset"]) for offset in answer.json()["offsets"]]
    assert sent == [(3, n) for n in range(7)]
    found = get(url, f"/topics/{topic}/partitions/3/offsets")
    assert found == {"beginning_offset": 0, "end_offset": 7}


def test_a_partition_that_the_topic_lacks_takes_nothing(url: str, topic: str) -> None:
    path = f"{url}/topics/{topic}/partitions/4"
    answer = requests.post(path, json={"records": [{}]}, headers=JSON_FORMAT, timeout=30)

    assert (answer.status_code, answer.json()) == (404, NO_PARTITION)


def test_the_offsets_are_the_first_and_the_next(broker: Broker, url: str, topic: str) -> None:
    broker.produce(topic, [b"x"] * 5, partition=1)

    path = f"/topics/{topic}/partitions/1/offsets"
    assert get(url, path) == {"beginning_offset": 0, "end_offset": 5}


@pytest.mark.real_broker
def test_the_first_offset_moves_with_what_was_deleted(broker: Broker, url: str, topic: str) -> None:
    broker.produce(topic, [b"x"] * 5, partition=1)
    admin, before = AdminClient(broker.properties), TopicPartition(topic, 1, 3)
    admin.delete_records([before])[before].result(10)

    path = f"/topics/{topic}/partitions/1/offsets"
    assert get(url, path) == {"beginning_offset": 3, "end_offset": 5}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/topics/absent", NO_TOPIC),
        ("/topics/absent/partitions", NO_TOPIC),
        ("/topics/absent/partitions/0", NO_TOPIC),
        ("/topics/absent/partitions/0/offsets", NO_TOPIC),
        ("/topics/{}/partitions/4", NO_PARTITION),
        ("/topics/{}/partitions/4/offsets", NO_PARTITION),
        ("/topics/{}/partitions/first", NOT_FOUND),
        ("/topics/{}/partitions/first/offsets", NOT_FOUND),
    ],
)
def test_what_is_not_there_is_404(url: str, topic: str, path: str, body: dict[str, Any]) -> None:
    answer = requests.get(url + path.format(topic), timeout=30)

    assert (answer.status_code, answer.json()) == (404, body)


def test_asking_for_a_topic_does_not_make_it(broker: Broker, url: str) -> None:
    requests.get(f"{url}/topics/gateway.asked.for", timeout=30)

    assert "gateway.asked.for" not in AdminClient(broker.properties).list_topics(timeout=10).topics


@pytest.mark.parametrize("path", ["/topics", "/topics/t/partitions/0/offsets"])
def test_reads_without_a_broker_are_503_with_a_time_to_come_back(nowhere: str, path: str) -> None:
    answer = requests.get(nowhere + path, timeout=30)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error_code"] == 50003


@pytest.fixture(scope="module")
def nowhere() -> Iterator[str]:
    with running(NO_BROKER) as url:
        yield url


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, 404, 40401),
        (KafkaError.SASL_AUTHENTICATION_FAILED, 401, 40101),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, 403, 40301),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, 403, 40301),
        (KafkaError._TIMED_OUT, 503, 50003),
        (KafkaError._ALL_BROKERS_DOWN, 503, 50003),
        (KafkaError.LEADER_NOT_AVAILABLE, 503, 50003),
        (KafkaError.INVALID_CONFIG, 500, 50002),
    ],
)
def test_kafkas_errors_have_the_rest_proxys_status_and_number(
    error: int, status: int, code: int
) -> None:
    found = refusal(KafkaError(error))

    assert (found.status, found.code) == (status, code)
    assert bool(found.headers) == (status == 503)


class FakeAdmin:
    """An AdminClient that tells what a test says, and counts how often it was asked."""

    def __init__(self, **topics: TopicMetadata) -> None:
        self.metadata = ClusterMetadata()
        self.metadata.topics = topics
        self.asked = 0
        self.fault: int | None = None

    def list_topics(self, timeout: float) -> ClusterMetadata:
        assert timeout == METADATA_TIMEOUT_S
        self.asked += 1
        if self.fault:
            raise KafkaException(KafkaError(self.fault))
        return self.metadata


def told(admin: FakeAdmin) -> KafkaCluster:
    cluster = KafkaCluster(NO_BROKER)
    cluster._admin = admin  # type: ignore[assignment]
    return cluster


def topic_of(partitions: int, *, leader: int = 1, error: int | None = None) -> TopicMetadata:
    topic = TopicMetadata()
    topic.error = None if error is None else KafkaError(error)
    for number in range(partitions):
        partition = topic.partitions[number] = PartitionMetadata()
        partition.id, partition.leader, partition.replicas = number, leader, [1, 2]
    return topic


def test_the_offsets_of_a_partition_without_a_leader_are_404() -> None:
    cluster = told(FakeAdmin(t=topic_of(1, leader=-1)))

    with pytest.raises(Refusal) as refused:
        asyncio.run(cluster.offsets("t", 0))
    assert (refused.value.status, refused.value.code) == (404, 40404)
    assert refused.value.message == "Leader not available."


def test_a_topic_that_kafka_does_not_show_is_403() -> None:
    cluster = told(FakeAdmin(t=topic_of(0, error=KafkaError.TOPIC_AUTHORIZATION_FAILED)))

    with pytest.raises(Refusal) as refused:
        asyncio.run(cluster.partitions("t"))
    assert (refused.value.status, refused.value.code) == (403, 40301)


def test_a_partition_that_is_there_is_not_asked_for_twice() -> None:
    admin = FakeAdmin(t=topic_of(2))
    cluster = told(admin)

    lacking = [asyncio.run(cluster.lacks("t", n)) for n in (0, 1, 0, 1)]
    assert (lacking, admin.asked) == ([False] * 4, 1)


def test_a_partition_that_was_lacking_is_seen_when_it_comes() -> None:
    admin = FakeAdmin(t=topic_of(2))
    cluster = told(admin)
    assert asyncio.run(cluster.lacks("t", 2))

    admin.metadata.topics["t"] = topic_of(3)
    assert not asyncio.run(cluster.lacks("t", 2))


def test_reads_that_come_together_share_one_look_at_the_cluster() -> None:
    admin = FakeAdmin(t=topic_of(2))
    cluster = told(admin)

    async def at_once() -> list[list[str]]:
        return await asyncio.gather(*[cluster.topics() for _ in range(50)])

    assert asyncio.run(at_once()) == [["t"]] * 50
    assert asyncio.run(at_once()) == [["t"]] * 50
    assert admin.asked == 2


def test_each_of_the_reads_that_share_a_failed_look_is_refused_and_the_next_looks_again() -> None:
    admin = FakeAdmin(t=topic_of(2))
    admin.fault, cluster = KafkaError._TRANSPORT, told(admin)

    async def at_once() -> list[Any]:
        reads = [cluster.topics() for _ in range(3)]
        return await asyncio.gather(*reads, return_exceptions=True)

    refused = asyncio.run(at_once())
    assert [(type(r), r.status, r.code) for r in refused] == [(Refusal, 503, 50003)] * 3
    assert len(set(map(id, refused))) == 3  # each is its caller's to change
    admin.fault = None
    assert asyncio.run(cluster.topics()) == ["t"]


def test_a_read_whose_caller_goes_away_costs_the_others_nothing() -> None:
    cluster = told(FakeAdmin(t=topic_of(1)))

    async def one_leaves() -> list[str]:
        leaver, stayer = (asyncio.ensure_future(cluster.topics()) for _ in range(2))
        await asyncio.sleep(0)  # both have asked
        leaver.cancel()
        return await stayer

    assert asyncio.run(one_leaves()) == ["t"]


@pytest.mark.parametrize("topics", [{}, {"t": topic_of(0, error=KafkaError.LEADER_NOT_AVAILABLE)}])
def test_a_topic_that_is_not_there_yet_lacks_nothing(topics: dict[str, TopicMetadata]) -> None:
    assert not asyncio.run(told(FakeAdmin(**topics)).lacks("t", 7))
