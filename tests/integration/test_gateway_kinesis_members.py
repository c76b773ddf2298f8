"""Members of Kinesis's own requests: each is handed on, or the request is refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from core.config import Gateway
from gateway.server import kinesis_client
from tests.support.aws import TestAws
from tests.support.gateways import running

NO_KAFKA = {"bootstrap.servers": "127.0.0.1:9"}
MIB = 1024 * 1024
LAST = 2**128 - 1


@pytest.fixture(scope="module")
def calls() -> list[dict[str, Any]]:
    """Return the list that collects the gateway's calls to Kinesis."""
    return []


@pytest.fixture(scope="module")
def url(aws: TestAws, calls: list[dict[str, Any]]) -> Iterator[str]:
    kinesis, settings = kinesis_client(aws.config), Gateway.model_validate({"max_body": 11 * MIB})

    def note(params: dict[str, Any], **_: Any) -> None:
        calls.append(params)

    kinesis.meta.events.register("provide-client-params.kinesis", note)
    with running(NO_KAFKA, kinesis=kinesis, settings=settings) as running_url:
        yield running_url


@pytest.fixture(scope="module")
def stream(aws: TestAws) -> str:
    return aws.stream(shards=2)


def send(url: str, method: str, path: str, body: Any) -> requests.Response:
    return requests.request(method, f"{url}/streams/{path}", json=body, timeout=30)


@pytest.mark.parametrize(("hash_key", "shard"), [("0", 0), (0, 0), (str(LAST - 1), 1), (2**127, 1)])
def test_a_record_goes_to_the_shard_of_its_explicit_hash_key(
    url: str, stream: str, hash_key: str | int, shard: int
) -> None:
    one = {"Data": 1, "PartitionKey": "k", "ExplicitHashKey": hash_key}
    many = [
        {"data": 1, "partition-key": "k", "explicit-hash-key": hash_key},
        {"data": 1, "partition-key": "k", "ExplicitHashKey": hash_key},
    ]
    put = send(url, "PUT", f"{stream}/record", one).json()
    entries = send(url, "PUT", f"{stream}/records", {"records": many}).json()["Records"]

    assert [entry["ShardId"] for entry in (put, *entries)] == [f"shardId-{shard:012}"] * 3


@pytest.mark.parametrize("hash_key", ["", "x", "-1", -1, str(LAST + 1), 1.5, True, [], "1e3", None])
def test_a_hash_key_that_is_none_is_refused(url: str, stream: str, hash_key: Any) -> None:
    one = {"Data": 1, "PartitionKey": "k", "ExplicitHashKey": hash_key}
    many = [{"data": 1, "partition-key": "k", "explicit-hash-key": hash_key}]
    answers = [
        send(url, "PUT", f"{stream}/record", one),
        send(url, "PUT", f"{stream}/records", {"records": many}),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert "'ExplicitHashKey'" in answers[0].json()["message"]
    assert "'records[0].explicit-hash-key'" in answers[1].json()["message"]


def test_a_sequence_number_for_ordering_is_handed_on_as_it_was_sent(
    url: str, stream: str, calls: list[dict[str, Any]]
) -> None:
    body = {"Data": 1, "PartitionKey": "k", "SequenceNumberForOrdering": "007"}
    assert send(url, "PUT", f"{stream}/record", body).status_code == 200

    assert calls[-1]["SequenceNumberForOrdering"] == "007"


def test_a_dry_run_is_refused_and_not_stored(
    url: str, stream: str, calls: list[dict[str, Any]]
) -> None:
    before = len(calls)
    one = {"Data": 1, "PartitionKey": "k", "DryRun": True}
    many = {"records": [{"data": 1, "partition-key": "k"}], "DryRun": True}
    answers = [
        send(url, "PUT", f"{stream}/record", one),
        send(url, "PUT", f"{stream}/records", many),
    ]

    assert [answer.status_code for answer in answers] == [400, 400]
    assert len(calls) == before


def test_a_new_stream_gets_all_that_was_asked_for(url: str, calls: list[dict[str, Any]]) -> None:
    wanted = {
        "ShardCount": 1,
        "Tags": {"team": "pins"},
        "WarmThroughputMiBps": 10,
        "MaxRecordSizeInKiB": 10240,
        "RecordDistributionStrategy": "AUTO",
    }
    assert send(url, "POST", "members-all", wanted).status_code == 200

    assert calls[-1] == wanted | {"StreamName": "members-all"}


@pytest.mark.parametrize(
    "wrong", [{"Tags": []}, {"Tags": None}, {"MaxRecordSizeInKiB": "x"}, {"MaxRecordSizeInKiB": {}}]
)
def test_a_member_that_kinesis_cannot_take_is_refused(url: str, wrong: dict[str, Any]) -> None:
    answer = send(url, "POST", "members-wrong", {"ShardCount": 1} | wrong)

    assert (answer.status_code, answer.json()["__type"]) == (400, "ValidationException")


def test_a_record_of_nearly_10_mib_is_stored_where_the_stream_takes_it(
    url: str, stream: str, calls: list[dict[str, Any]]
) -> None:
    data = "x" * (10 * MIB - 1)
    answer = send(url, "PUT", f"{stream}/record", {"Data": data, "PartitionKey": "k"})

    assert answer.status_code == 200
    assert len(calls[-1]["Data"]) == 10 * MIB - 1


def test_a_record_that_the_stream_does_not_take_is_refused_in_kinesiss_words(
    url: str, stream: str
) -> None:
    """Moto's PutRecords is a stream of 1 MiB records."""
    records = {"records": [{"data": "x" * (2 * MIB), "partition-key": "k"}]}
    answer = send(url, "PUT", f"{stream}/records", records)

    assert answer.status_code == 400
    assert "length less than or equal to 1048576" in json.dumps(answer.json())
