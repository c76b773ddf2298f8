"""Kinesis refuses the gateway's own credentials: the caller is not blamed, and it is not ready."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from botocore.exceptions import NoCredentialsError
from structlog.testing import capture_logs

from gateway.server import kinesis_client
from tests.support.brokers import Broker
from tests.support.fake_kinesis import fault
from tests.support.gateways import NOWHERE, running
from tests.support.processes import until

RECORD = {"Data": {"n": 1}, "PartitionKey": "k"}
RECORDS = {"records": [{"data": 1, "partition-key": "k"}]}
SKEWED = fault("InvalidSignatureException")
SKEWED.response["Error"]["Message"] = "Signature expired: 1 is now earlier than 2 (2 - 5 min.)"
EXPIRED = fault("ExpiredTokenException")


class Kinesis:
    """A client whose calls raise `error`, while there is one."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.calls: list[str] = []

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**_: Any) -> dict[str, Any]:
            self.calls.append(operation)
            if self.error is not None:
                raise self.error
            return {"ShardId": "s", "SequenceNumber": "1", "Records": [{}]}

        return call


@pytest.fixture
def kinesis() -> Kinesis:
    return Kinesis(None)


@pytest.fixture
def url(mock_broker: Broker, kinesis: Kinesis) -> Iterator[str]:
    with running(mock_broker.properties, kinesis=kinesis) as running_url:
        yield running_url


def ready(url: str) -> requests.Response:
    return requests.get(f"{url}/ready", timeout=10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (SKEWED, "set this machine's clock"),
        (EXPIRED, "renew the session token"),
        (fault("UnrecognizedClientException"), "give AWS credentials"),
        (fault("AccessDenied", "AssumeRoleWithWebIdentity", 403), "give AWS credentials"),
        (NoCredentialsError(), "give AWS credentials"),
    ],
    ids=["skewed", "expired", "unknown key", "no role", "no credentials"],
)
def test_the_gateway_takes_the_blame_is_not_ready_and_says_what_to_do(
    url: str, kinesis: Kinesis, error: Exception, advice: str
) -> None:
    assert ready(url).status_code == 200
    kinesis.error = error
    for path, body in (("record", RECORD), ("records", RECORDS)):
        answer = requests.put(f"{url}/streams/s/{path}", json=body, timeout=10)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["__type"] == "ServiceUnavailable"
        assert "the gateway's credentials" in answer.json()["message"]
    unready = until_asked_again(url, 503)
    assert advice in unready.json()["reason"]
    assert requests.get(f"{url}/health", timeout=10).status_code == 200


@pytest.mark.parametrize("after", [None, fault("AccessDeniedException", "ListStreams")])
@pytest.mark.slow
def test_it_is_ready_again_once_kinesis_takes_the_credentials(
    url: str, kinesis: Kinesis, after: Exception | None
) -> None:
    kinesis.error = EXPIRED
    requests.get(f"{url}/streams", timeout=10)
    until_asked_again(url, 503)
    kinesis.error = after
    until_asked_again(url, 200)


def test_a_record_that_is_stored_makes_it_ready_without_another_question(
    url: str, kinesis: Kinesis
) -> None:
    kinesis.error = EXPIRED
    with capture_logs() as logs:
        requests.put(f"{url}/streams/s/record", json=RECORD, timeout=10)
        kinesis.error = None
        requests.put(f"{url}/streams/s/record", json=RECORD, timeout=10)
    assert ready(url).status_code == 200
    assert kinesis.calls == ["put_record", "put_record"]
    said = [log.get("error", "") for log in logs if log["event"].startswith("kinesis_credentials")]
    assert ["ExpiredToken" in said[0], said[1:]] == [True, [""]]


def test_what_the_caller_did_wrong_stays_a_4xx_and_the_gateway_ready(
    url: str, kinesis: Kinesis
) -> None:
    kinesis.error = fault("AccessDeniedException", "PutRecord")
    answer = requests.put(f"{url}/streams/s/record", json=RECORD, timeout=10)
    assert (answer.status_code, answer.json()["__type"]) == (400, "AccessDeniedException")
    assert ready(url).status_code == 200


def test_a_gateway_to_kafka_alone_asks_kinesis_nothing(mock_broker: Broker) -> None:
    asked: list[str] = []
    client = kinesis_client(NOWHERE)
    client.meta.events.register("before-call.kinesis", lambda **_: asked.append("a call"))
    with running(mock_broker.properties, kinesis=client) as url:
        assert ready(url).status_code == 200
    assert asked == []


def until_asked_again(url: str, status: int) -> requests.Response:
    """Await this status of `/ready`, which probes at most once a second; return the response."""
    until(lambda: ready(url).status_code == status, f"/ready to answer {status}")
    return ready(url)
