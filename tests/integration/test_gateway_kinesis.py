"""The Kinesis routes, on moto's server."""

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any
from uuid import uuid4

import pytest
import requests
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from core.config import Gateway
from gateway.http.responses import Refusal
from gateway.kinesis.api import MAX_PUT_BYTES, PUT_TIMEOUT_S, chunks, routes
from gateway.kinesis.records import (
    MAX_RECORD,
    KinesisRecord,
    kinesis_record,
    kinesis_records,
)
from gateway.kinesis.streams import Streams
from gateway.server import kinesis_client
from tests.support.aws import TestAws
from tests.support.clock import ManualClock
from tests.support.gateways import NOWHERE, running

NO_KAFKA = {"bootstrap.servers": "127.0.0.1:9"}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def url(aws: TestAws) -> Iterator[str]:
    settings = Gateway.model_validate({"max_body": 11 * MIB})
    kinesis = kinesis_client(aws.config)
    with running(NO_KAFKA, kinesis=kinesis, settings=settings) as running_url:
        yield f"{running_url}/test"


@pytest.fixture(scope="module")
def stream(aws: TestAws) -> str:
    return aws.stream(shards=1)


def put(url: str, path: str, body: Any) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    return requests.put(f"{url}/streams/{path}", data=data, headers=headers, timeout=30)


def last(aws: TestAws, stream: str, answer: dict[str, Any]) -> tuple[bytes, str]:
    """Read data and partition key of the record that the response names."""
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


@given(st.lists(st.integers(1, MIB - 1) | st.integers(1, MAX_RECORD - 1), min_size=1, max_size=40))
def test_chunks_keep_the_order_and_the_limits(sizes: list[int]) -> None:
    data = bytes(MAX_RECORD)
    records = [KinesisRecord(data[:size], str(n % 10)) for n, size in enumerate(sizes)]
    parts = list(chunks(records))

    assert [record for part in parts for record in part] == records
    assert all(part for part in parts)
    large = [part for part in parts if sum(record.size for record in part) > MAX_PUT_BYTES]
    assert [len(part) for part in large] == [1] * sum(
        record.size > MAX_PUT_BYTES for record in records
    )


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
            {"Data": "x" * (10 * MIB), "PartitionKey": "k"},
            "Data",
            "must hold at most 10485760 bytes with its key",
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


def test_streams_are_listed_page_by_page(url: str) -> None:
    names = {f"page-{n}" for n in range(5)}
    for name in names:
        requests.post(f"{url}/streams/{name}", json={"ShardCount": 1}, timeout=10)

    pages, more, start = list[list[str]](), True, dict[str, str]()
    while more:
        query = start | {"Limit": "2"}
        page = requests.get(f"{url}/streams", params=query, timeout=10).json()
        pages.append(page["StreamNames"])
        more, start = page["HasMoreStreams"], {"ExclusiveStartStreamName": pages[-1][-1]}

    found = [name for page in pages for name in page]
    assert all(1 <= len(page) <= 2 for page in pages)
    assert names <= set(found)
    assert len(found) == len(set(found))


def test_the_shards_of_a_stream_are_described_page_by_page(aws: TestAws) -> None:
    kinesis, asked = kinesis_client(aws.config), list[dict[str, Any]]()
    kinesis.meta.events.register(
        "before-parameter-build.kinesis.DescribeStream", lambda params, **_: asked.append(params)
    )
    name = aws.stream(shards=3)
    with running(NO_KAFKA, kinesis=kinesis) as url:
        query = {"Limit": "2", "ExclusiveStartShardId": "shardId-000000000000"}
        answer = requests.get(f"{url}/streams/{name}", params=query, timeout=10).json()

    assert answer["StreamDescription"]["HasMoreShards"] is True
    assert len(answer["StreamDescription"]["Shards"]) == 2
    start = "shardId-000000000000"  # moto does not heed it
    assert asked == [{"StreamName": name, "Limit": 2, "ExclusiveStartShardId": start}]


@pytest.mark.parametrize("limit", ["0", "10001", "-1", "two", "1.0", "", "٣", "9" * 5000])
@pytest.mark.parametrize("path", ["", "/any"])
def test_a_page_holds_1_to_10000(url: str, path: str, limit: str) -> None:
    answer = requests.get(f"{url}/streams{path}", params={"Limit": limit}, timeout=10)

    assert answer.status_code == 400
    rule = "must be an integer from 1 to 10000"
    assert answer.json() == {
        "__type": "ValidationException",
        "message": INVALID.format("Limit", rule),
    }


def test_what_botocore_refuses_was_not_sent_and_is_400(url: str) -> None:
    query = {"ExclusiveStartStreamName": ""}
    answer = requests.get(f"{url}/streams", params=query, timeout=10)

    assert (answer.status_code, answer.json()["__type"]) == (400, "ValidationException")
    assert "ExclusiveStartStreamName" in answer.json()["message"]


def test_a_stream_is_created_listed_described_and_deleted(url: str) -> None:
    path = f"{url}/streams/gateway-made"
    listing: Any = {"url": f"{url}/streams", "params": {"Limit": "10000"}}
    assert requests.post(path, json={"ShardCount": 2}, timeout=10).json() == {}
    assert requests.post(path, json={"ShardCount": 2}, timeout=10).status_code == 400

    listed = requests.get(**listing, timeout=10).json()
    assert "gateway-made" in listed["StreamNames"]
    assert listed["HasMoreStreams"] is False
    description = requests.get(path, timeout=10).json()["StreamDescription"]
    assert description["StreamName"] == "gateway-made"
    assert isinstance(description["StreamCreationTimestamp"], float)

    assert requests.delete(path, timeout=10).json() == {}
    assert "gateway-made" not in requests.get(**listing, timeout=10).json()["StreamNames"]


@pytest.mark.parametrize(
    "body",
    [
        *({"ShardCount": count} for count in [0, "2", None, True, 10_001, 2**40]),
        {},
        {"StreamModeDetails": {"StreamMode": "PROVISIONED"}},
        {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "ShardCount": 0},
    ],
)
def test_a_stream_wants_a_number_of_shards(url: str, body: dict[str, Any]) -> None:
    answer = requests.post(f"{url}/streams/never-made", json=body, timeout=10)

    assert answer.status_code == 400
    assert answer.json() == {
        "__type": "ValidationException",
        "message": INVALID.format("ShardCount", "must be an integer from 1 to 10000"),
    }


@pytest.mark.parametrize("details", [{}, {"StreamMode": "FREE"}, {"StreamMode": []}, "ON_DEMAND"])
def test_a_stream_has_one_of_kinesiss_modes(url: str, details: Any) -> None:
    body = {"StreamModeDetails": details, "ShardCount": 1}
    answer = requests.post(f"{url}/streams/never-made", json=body, timeout=10)

    rule = "must be PROVISIONED or ON_DEMAND"
    assert answer.status_code == 400
    assert answer.json()["message"] == INVALID.format("StreamModeDetails.StreamMode", rule)


@pytest.mark.parametrize(
    ("body", "mode"),
    [
        ({"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}, "ON_DEMAND"),
        ({"StreamModeDetails": {"StreamMode": "PROVISIONED"}, "ShardCount": 1}, "PROVISIONED"),
        ({"ShardCount": 1, "StreamName": "the-path-wins"}, "PROVISIONED"),
    ],
)
def test_a_stream_is_made_in_the_mode_asked_for(
    aws: TestAws, url: str, body: dict[str, Any], mode: str
) -> None:
    name = f"mode-{uuid4().hex[:8]}"
    assert requests.post(f"{url}/streams/{name}", json=body, timeout=10).status_code == 200

    found = aws.client("kinesis").describe_stream_summary(StreamName=name)
    assert found["StreamDescriptionSummary"]["StreamModeDetails"]["StreamMode"] == mode


@pytest.mark.parametrize(("method", "status"), [("GET", 404), ("DELETE", 404)])
def test_a_stream_that_is_not_there_is_404(url: str, method: str, status: int) -> None:
    answer = requests.request(method, f"{url}/streams/absent", timeout=10)

    assert answer.status_code == status
    assert answer.json()["__type"] == "ResourceNotFoundException"
    assert "absent" in answer.json()["message"]


def test_a_stream_name_that_no_stream_can_have_is_400(url: str) -> None:
    answer = requests.get(f"{url}/streams/a%20b", timeout=10)

    assert (answer.status_code, answer.json()["__type"]) == (400, "ValidationException")


def refused(code: str, status: int) -> tuple[AWSResponse, dict[str, Any]]:
    """Make what botocore passes on when Kinesis refuses a call."""
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


ENTRY = {"SequenceNumber": "1", "ShardId": "shardId-000000000000"}
SLOW = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}
BROKEN = {"ErrorCode": "InternalFailure", "ErrorMessage": "Internal service failure."}


def put_answered(stream: str, *calls: list[dict[str, str]]) -> requests.Response:
    """Return the gateway's response when Kinesis returns these entries, one per record."""
    answers = ((AWSResponse("", 200, HTTPHeaders(), None), {"Records": c}) for c in calls)
    kinesis = kinesis_client(NOWHERE)
    refuse_calls(kinesis, answers)
    records = [{"data": n, "partition-key": "k"} for n in range(sum(map(len, calls)))]
    with running(NO_KAFKA, kinesis=kinesis) as url:
        return put(url, f"{stream}/records", {"records": records})


@pytest.mark.parametrize("calls", [[[SLOW]], [[SLOW] * 3], [[SLOW] * 500, [SLOW]]])
def test_records_that_were_all_throttled_are_429_with_a_time_to_come_back(
    calls: list[list[dict[str, str]]],
) -> None:
    answer = put_answered("any", *calls)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json() == {
        "__type": "ProvisionedThroughputExceededException",
        "message": "Rate exceeded",
    }


@pytest.mark.parametrize(
    "calls",
    [[[ENTRY, SLOW]], [[SLOW, BROKEN]], [[BROKEN]], [[SLOW] * 500, [ENTRY]]],
)
def test_records_of_which_some_may_be_stored_are_200_with_an_entry_for_each(
    calls: list[list[dict[str, str]]],
) -> None:
    answer, entries = put_answered("any", *calls), [entry for call in calls for entry in call]

    assert answer.status_code == 200
    assert answer.json() == {
        "FailedRecordCount": len(entries) - entries.count(ENTRY),
        "Records": entries,
    }


def test_what_a_slow_kinesis_leaves_no_time_for_is_not_sent(aws: TestAws, stream: str) -> None:
    kinesis, clock, calls = kinesis_client(aws.config), ManualClock(), list[int]()

    def slow(params: dict[str, Any], **_: Any) -> None:
        calls.append(len(params["Records"]))
        clock.advance(PUT_TIMEOUT_S + 1)

    kinesis.meta.events.register("before-parameter-build.kinesis.PutRecords", slow)
    handler = routes(Streams(kinesis), 10_000, clock)["/streams/{stream}/records"]["PUT"]
    headers = [(b"content-type", b"application/json")]
    request = Request({"type": "http", "headers": headers, "path_params": {"stream": stream}})
    records = [{"data": n, "partition-key": "k"} for n in range(600)]

    async def handled() -> Response:
        return await handler(request, json.dumps({"records": records}).encode())

    answer = asyncio.run(handled())

    assert calls == [500]
    entries = json.loads(bytes(answer.body))["Records"]
    codes = [entry.get("ErrorCode") for entry in entries]
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
