"""The Kinesis routes, on moto's server."""

import json
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import pytest
import requests
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers import Refusal
from gateway.envelope import KinesisRecord, kinesis_record, kinesis_records
from gateway.kinesis import PUT_BYTES, chunks
from gateway.server import kinesis_client
from tests.support.aws import TestAws
from tests.support.gateways import running

NO_KAFKA = {"bootstrap.servers": "127.0.0.1:9"}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def url(aws: TestAws) -> Iterator[str]:
    with running(NO_KAFKA, kinesis=kinesis_client(aws.config)) as running_url:
        yield f"{running_url}/test"


@pytest.fixture(scope="module")
def stream(aws: TestAws) -> str:
    return aws.stream(shards=1)


def put(url: str, path: str, body: Any) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    return requests.put(f"{url}/streams/{path}", data=data, headers=headers, timeout=30)


def last(aws: TestAws, stream: str, answer: dict[str, Any]) -> tuple[bytes, str]:
    """Data and partition key of the record that `answer` names."""
    kinesis = aws.client("kinesis")
    iterator = kinesis.get_shard_iterator(
        StreamName=stream,
        ShardId=answer["ShardId"],
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        StartingSequenceNumber=answer["SequenceNumber"],
    )
    records = kinesis.get_records(ShardIterator=iterator["ShardIterator"], Limit=1)["Records"]
    return records[0]["Data"], records[0]["PartitionKey"]


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        ({"ind": 1, "country": "Côte d'Ivoire"}, '{"ind":1,"country":"Côte d\'Ivoire"}'),
        ('{"ind": 1}', '{"ind": 1}'),
        ("nothing\nmuch 😀", "nothing\nmuch 😀"),
        ([1, None], "[1,null]"),
        (1.5, "1.5"),
        (False, "false"),
    ],
)
def test_objects_are_stored_as_their_json_and_text_as_itself(
    aws: TestAws, url: str, stream: str, data: Any, stored: str
) -> None:
    body = {"StreamName": "the-path-wins", "Data": data, "PartitionKey": "key-1"}
    answer = put(url, f"{stream}/record", body)

    assert answer.status_code == 200
    assert set(answer.json()) == {"SequenceNumber", "ShardId"}
    assert last(aws, stream, answer.json()) == (stored.encode(), "key-1")


def test_records_are_answered_one_for_one_beyond_kinesiss_limits(
    aws: TestAws, url: str, stream: str
) -> None:
    records = [{"data": {"n": n}, "partition-key": n} for n in range(1200)]
    answer = put(url, f"{stream}/records", {"records": records}).json()

    assert answer["FailedRecordCount"] == 0
    assert len(answer["Records"]) == 1200
    assert last(aws, stream, answer["Records"][0]) == (b'{"n":0}', "0")
    assert last(aws, stream, answer["Records"][777]) == (b'{"n":777}', "777")


@given(st.lists(st.integers(1, MIB - 1), min_size=1, max_size=40))
def test_chunks_keep_the_order_and_the_limits(sizes: list[int]) -> None:
    data = b"x" * MIB
    records = [KinesisRecord(data[:size], str(n % 10)) for n, size in enumerate(sizes)]
    parts = list(chunks(records))

    assert [record for part in parts for record in part] == records
    assert all(part for part in parts)
    assert all(sum(record.size for record in part) <= PUT_BYTES for part in parts)


INVALID = "1 validation error detected: Value at '{}' failed to satisfy constraint: Member {}"


@pytest.mark.parametrize(
    ("path", "body", "where", "rule"),
    [
        ("record", {"Data": {}}, "PartitionKey", "must not be null"),
        ("record", {"PartitionKey": "k"}, "Data", "must not be null"),
        (
            "record",
            {"Data": 1, "PartitionKey": ""},
            "PartitionKey",
            "must have 1 to 256 characters",
        ),
        ("record", {"Data": 1, "PartitionKey": {}}, "PartitionKey", "must be text"),
        (
            "record",
            {"Data": "x" * MIB, "PartitionKey": "k"},
            "Data",
            "must hold at most 1048576 bytes with its key",
        ),
        (
            "records",
            {"Data": 1, "PartitionKey": "k"},
            "records",
            "must be an array that is not empty",
        ),
        (
            "records",
            {"records": [7]},
            "records[0]",
            "is not as it should be: Expected `object`, got `int`",
        ),
        (
            "records",
            {"records": [{"data": 1, "partition-key": "k"}, {"data": 1}]},
            "records[1].partition-key",
            "must not be null",
        ),
    ],
)
def test_a_bad_record_is_refused_with_the_offending_member_named(
    url: str, stream: str, path: str, body: Any, where: str, rule: str
) -> None:
    answer = put(url, f"{stream}/{path}", body)

    assert answer.status_code == 400
    assert answer.json() == {
        "__type": "ValidationException",
        "message": INVALID.format(where, rule),
    }


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"Data":NaN,"PartitionKey":"k"}', b"\xff"])
def test_a_body_that_is_not_a_json_object_is_refused(url: str, stream: str, body: bytes) -> None:
    answer = put(url, f"{stream}/record", body)

    assert (answer.status_code, answer.json()["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize("path", ["absent/record", "absent/records"])
def test_an_unknown_stream_is_404(url: str, path: str) -> None:
    record = {"Data": 1, "PartitionKey": "k"}
    body = record | {"records": [{"data": 1, "partition-key": "k"}]}
    answer = put(url, path, body)

    assert (answer.status_code, answer.json()["__type"]) == (404, "ResourceNotFoundException")


def test_streams_beyond_the_first_page_are_listed(url: str) -> None:
    names = {f"page-{n}" for n in range(12)}
    for name in names:
        requests.post(f"{url}/streams/{name}", json={"ShardCount": 1}, timeout=10)
    assert names <= set(requests.get(f"{url}/streams", timeout=10).json()["StreamNames"])


def test_a_stream_is_created_listed_described_and_deleted(url: str) -> None:
    path = f"{url}/streams/gateway-made"
    assert requests.post(path, json={"ShardCount": 2}, timeout=10).json() == {}
    assert requests.post(path, json={"ShardCount": 2}, timeout=10).status_code == 400

    listed = requests.get(f"{url}/streams", timeout=10).json()
    assert "gateway-made" in listed["StreamNames"]
    assert listed["HasMoreStreams"] is False
    description = requests.get(path, timeout=10).json()["StreamDescription"]
    assert description["StreamName"] == "gateway-made"
    assert isinstance(description["StreamCreationTimestamp"], float)

    assert requests.delete(path, timeout=10).json() == {}
    assert "gateway-made" not in requests.get(f"{url}/streams", timeout=10).json()["StreamNames"]


@pytest.mark.parametrize("count", [0, "2", None, True, 2**40])
def test_a_stream_wants_a_number_of_shards(url: str, count: Any) -> None:
    answer = requests.post(f"{url}/streams/never-made", json={"ShardCount": count}, timeout=10)

    assert answer.status_code == 400
    assert "'ShardCount'" in answer.json()["message"]


def test_a_stream_name_that_no_stream_can_have_is_400(url: str) -> None:
    answer = requests.get(f"{url}/streams/a%20b", timeout=10)

    assert (answer.status_code, answer.json()["__type"]) == (400, "ValidationException")


def refused(code: str, status: int) -> tuple[AWSResponse, dict[str, Any]]:
    """What botocore hands on when Kinesis refuses a call."""
    error = {"Code": code, "Message": "Rate exceeded for shard"}
    parsed = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
    return AWSResponse("http://kinesis", status, HTTPHeaders(), None), parsed


def refuse_calls(kinesis: Any, answers: Iterator[Any]) -> None:
    """Take the next of `answers` instead of calling Kinesis, unless it is None."""
    kinesis.meta.events.register("before-call.kinesis", lambda **_: next(answers))


def test_throttling_of_a_record_is_429_with_a_time_to_come_back(aws: TestAws, stream: str) -> None:
    kinesis = kinesis_client(aws.config)
    code = "ProvisionedThroughputExceededException"
    refuse_calls(kinesis, repeat(refused(code, 400)))
    with running(NO_KAFKA, kinesis=kinesis) as url:
        answer = put(url, f"{stream}/record", {"Data": 1, "PartitionKey": "k"})

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json() == {"__type": code, "message": "Rate exceeded for shard"}


def test_a_chunk_refused_after_others_were_stored_fails_alone(aws: TestAws, stream: str) -> None:
    kinesis, answers = kinesis_client(aws.config), iter([None, refused("ThrottlingException", 400)])
    refuse_calls(kinesis, answers)
    records = [{"data": n, "partition-key": "k"} for n in range(600)]
    with running(NO_KAFKA, kinesis=kinesis) as url:
        answer = put(url, f"{stream}/records", {"records": records})

    assert (answer.status_code, answer.json()["FailedRecordCount"]) == (200, 100)
    codes = [entry.get("ErrorCode") for entry in answer.json()["Records"]]
    assert codes == [None] * 500 + ["ProvisionedThroughputExceededException"] * 100


def test_kinesis_out_of_reach_is_503_with_a_time_to_come_back() -> None:
    with running(NO_KAFKA) as url:
        answer = put(url, "any/record", {"Data": 1, "PartitionKey": "k"})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"__type": "ServiceUnavailable", "message": "Kinesis cannot be reached"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
RECORD = st.fixed_dictionaries({"data": JSON_VALUES, "partition-key": JSON_VALUES})
BODIES = st.one_of(
    JSON_VALUES,
    st.fixed_dictionaries({"Data": JSON_VALUES, "PartitionKey": JSON_VALUES}),
    st.fixed_dictionaries({"records": st.lists(RECORD | JSON_VALUES)}),
)


@given(st.binary() | BODIES.map(json.dumps).map(str.encode))
@pytest.mark.parametrize("parse", [kinesis_record, kinesis_records])
def test_any_body_ends_in_records_or_a_refusal(parse: Callable[[bytes], Any], body: bytes) -> None:
    result = parsed(parse, body)

    if isinstance(result, Refusal):
        assert result.status == 400
        assert json.loads(bytes(result.response().body))["message"] == result.message


def parsed(parse: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return parse(body)
    except Refusal as refusal:
        return refusal
