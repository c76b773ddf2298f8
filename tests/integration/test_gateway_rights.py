"""What the Kafka routes answer when Kafka's access rights keep the gateway out, on a real broker.

kafka-rest 8.5.0: ProduceResponse.getRequestStatus for produce, KafkaExceptionMapper of rest-utils
for reads. A topic that may not even be described is not in the metadata: 404, as if it were not.
"""

from collections.abc import Iterator

import pytest
import requests
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # a star import hides them
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic

from pinpip.local.java import SecuredListener
from tests.support.brokers import own_kafka
from tests.support.gateways import JSON_FORMAT, running
from tests.support.processes import until

pytestmark = pytest.mark.real_broker

OPEN, SEEN, HIDDEN = "rights.open", "rights.seen", "rights.hidden"
RIGHTS = [
    (OPEN, AclOperation.WRITE),
    (OPEN, AclOperation.DESCRIBE_CONFIGS),
    (SEEN, AclOperation.DESCRIBE),
]
BROKER = {
    "sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "listener.name.guarded.scram-sha-512.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # who comes by the open listener
}
ALICE: dict[str, str | int | float | bool] = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "alice",
    "sasl.password": "correct-horse",
    "log_level": 2,
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a gateway that connects to Kafka as alice."""
    folder = tmp_path_factory.mktemp("rights")
    guard = SecuredListener("SASL_PLAINTEXT", {"alice": "correct-horse"})
    with own_kafka(folder / "kafka", properties=BROKER, guard=guard) as kafka:
        prepare(AdminClient({"bootstrap.servers": kafka.bootstrap}))
        alice = ALICE | {"bootstrap.servers": kafka.guarded}
        until(lambda: is_seen_by(AdminClient(alice)), "the broker to apply topics and rights")
        with running(alice, served=[HIDDEN]) as running_url:
            yield running_url


def prepare(admin: AdminClient) -> None:
    made = admin.create_topics([NewTopic(topic, 1, 1) for topic in (OPEN, SEEN, HIDDEN)])
    kind, pattern = ResourceType.TOPIC, ResourcePatternType.LITERAL
    bindings = [
        AclBinding(kind, topic, pattern, "User:alice", "*", operation, AclPermissionType.ALLOW)
        for topic, operation in RIGHTS
    ]
    for done in [*made.values(), *admin.create_acls(bindings).values()]:
        done.result(30)


def is_seen_by(user: AdminClient) -> bool:
    """Whether the topics that may be described are there: the controller answers before."""
    return {OPEN, SEEN} <= user.list_topics(timeout=10).topics.keys()


def produce(url: str, topic: str) -> requests.Response:
    body = {"records": [{"value": 1}, {"value": 2}]}
    return requests.post(f"{url}/topics/{topic}", json=body, headers=JSON_FORMAT, timeout=30)


def test_records_go_where_the_gateway_may_write(url: str) -> None:
    answer = produce(url, OPEN)

    assert answer.status_code == 200
    assert [offset["error_code"] for offset in answer.json()["offsets"]] == [None, None]


@pytest.mark.parametrize("topic", [SEEN, HIDDEN])
def test_records_for_a_topic_that_the_gateway_may_not_write_are_403(url: str, topic: str) -> None:
    answer = produce(url, topic)

    assert answer.status_code == 403
    for offset in answer.json()["offsets"]:
        assert "Topic authorization failed" in offset.pop("error")
        assert offset == {"partition": None, "offset": None, "error_code": 40301}


def test_a_configuration_that_the_gateway_may_not_see_is_403(url: str) -> None:
    assert requests.get(f"{url}/topics/{OPEN}", timeout=30).json()["configs"]
    answer = requests.get(f"{url}/topics/{SEEN}", timeout=30)

    assert answer.status_code == 403
    assert answer.json() == {"error_code": 40301, "message": "Topic authorization failed."}


def test_a_topic_that_the_gateway_may_not_see_is_not_there(url: str) -> None:
    assert requests.get(f"{url}/topics", timeout=30).json() == [OPEN, SEEN]
    answer = requests.get(f"{url}/topics/{HIDDEN}/partitions", timeout=30)

    assert (answer.status_code, answer.json()["error_code"]) == (404, 40401)
