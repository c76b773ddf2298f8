"""The document as API Gateway takes it: what it can import, and what its templates send and say."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator
from moto import mock_aws

from gateway.http import openapi
from gateway.kinesis.records import KinesisRecord, kinesis_record, kinesis_records
from gateway.kinesis.streams import THROTTLED, THROUGHPUT
from tests.support.vtl import Rendered, render

DOCUMENT = openapi.document()
INTEGRATION = "x-amazon-apigateway-integration"
PUBLIC = {"/health", "/ready", "/metrics", "/openapi.json"}
OPERATIONS: dict[tuple[str, str], dict[str, Any]] = {
    (path, method): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
KINESIS = {at: operation for at, operation in OPERATIONS.items() if at[0].startswith("/streams")}
PROXIED = {at: operation for at, operation in OPERATIONS.items() if at not in KINESIS}
SENTENCE = "Rate exceeded for shard \"shardId-000000000000\" in 'orders'"


def inside(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON tree."""
    if isinstance(tree, dict):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, dict | list):
            yield from inside(value)


def template(path: str, method: str) -> str:
    """Return the mapping template of the request to Kinesis."""
    text: str = DOCUMENT["paths"][path][method][INTEGRATION]["requestTemplates"]["application/json"]
    return text


def answered(path: str, method: str, status: int, body: Any) -> tuple[int, Rendered]:
    """Status and answer that API Gateway makes of what Kinesis says."""
    responses = OPERATIONS[path, method][INTEGRATION]["responses"]
    patterns = [name for name in responses if name != "default"]
    found = [name for name in patterns if re.fullmatch(name, str(status))] or ["default"]
    text = responses[found[0]].get("responseTemplates", {}).get("application/json")
    said = json.dumps(body).encode()
    rendered = Rendered(said.decode(), {}) if text is None else render(text, said)
    return rendered.override.get("status", int(responses[found[0]]["statusCode"])), rendered


@pytest.mark.slow
def test_moto_imports_every_method_with_its_integration() -> None:
    with mock_aws():
        client = boto3.client("apigateway", region_name="us-east-1")
        body = json.dumps(DOCUMENT).encode()
        api = client.import_rest_api(body=body, failOnWarnings=True)
        found = client.get_resources(restApiId=api["id"], limit=500)["items"]

    imported = {
        (resource["path"], method.lower()): details["methodIntegration"]
        for resource in found
        for method, details in resource.get("resourceMethods", {}).items()
    }
    wanted = {at: operation[INTEGRATION]["uri"] for at, operation in OPERATIONS.items()}
    assert {at: integration["uri"] for at, integration in imported.items()} == wanted
    assert {at for at, made in imported.items() if "integrationResponses" in made} >= set(KINESIS)


@pytest.mark.parametrize("at", PROXIED, ids=" ".join)
def test_what_is_not_kinesis_goes_through_the_vpc_link_to_the_same_path(
    at: tuple[str, str],
) -> None:
    path, method = at
    integration = OPERATIONS[at][INTEGRATION]

    assert integration["type"] == "http_proxy"
    assert integration["httpMethod"] == method.upper()
    assert integration["uri"] == f"http://${{stageVariables.gatewayHost}}{path}"
    assert integration["connectionType"] == "VPC_LINK"
    assert integration["connectionId"] == "${stageVariables.vpcLinkId}"
    assert integration.get("requestParameters", {}) == {
        f"integration.request.path.{name}": f"method.request.path.{name}"
        for name in re.findall(r"{(\w+)}", path)
    }
    assert integration["timeoutInMillis"] == 29_000


def test_each_kinesis_route_calls_its_action() -> None:
    actions = {at: operation[INTEGRATION]["uri"] for at, operation in KINESIS.items()}
    region = "arn:aws:apigateway:us-east-1:kinesis:action"

    assert actions == {
        ("/streams", "get"): f"{region}/ListStreams",
        ("/streams/{stream}", "get"): f"{region}/DescribeStream",
        ("/streams/{stream}", "post"): f"{region}/CreateStream",
        ("/streams/{stream}", "delete"): f"{region}/DeleteStream",
        ("/streams/{stream}/record", "put"): f"{region}/PutRecord",
        ("/streams/{stream}/records", "put"): f"{region}/PutRecords",
    }
    assert {operation[INTEGRATION]["httpMethod"] for operation in KINESIS.values()} == {"POST"}


def test_the_kinesis_routes_differ_in_nothing_but_action_and_templates() -> None:
    def common(operation: dict[str, Any]) -> str:
        integration = dict(operation[INTEGRATION])
        del integration["uri"], integration["requestTemplates"]
        responses = {k: v for k, v in integration.pop("responses").items() if k != "default"}
        return json.dumps([integration, responses])

    assert len({common(operation) for operation in KINESIS.values()}) == 1


def test_every_method_but_the_public_ones_wants_the_api_key() -> None:
    assert DOCUMENT["x-amazon-apigateway-api-key-source"] == "HEADER"
    keyed = {
        at for at, operation in OPERATIONS.items() if operation["security"] == [{"apiKey": []}]
    }
    open_to_all = {at for at, operation in OPERATIONS.items() if operation["security"] == []}

    assert {path for path, _ in open_to_all} == PUBLIC
    assert keyed | open_to_all == set(OPERATIONS)


def test_what_replaces_the_two_literals_reaches_every_place() -> None:
    text = json.dumps(DOCUMENT)

    assert text.count("us-east-1") == len(KINESIS)
    assert text.count("arn:aws:iam::123456789012:role/pinpip-api-kinesis") == len(KINESIS)
    assert set(re.findall(r"\$\{(.*?)\}", text)) - {"i"} == {
        "stageVariables.gatewayHost",
        "stageVariables.vpcLinkId",
    }


def test_what_api_gateway_cannot_import_is_not_there() -> None:
    """The list is AWS's: "Amazon API Gateway important notes", OpenAPI."""
    assert all(re.fullmatch(r"[A-Za-z0-9]+", name) for name in DOCUMENT["components"]["schemas"])
    parts = [part for path in DOCUMENT["paths"] for part in path.split("/")[1:]]
    assert all(re.fullmatch(r"[\w.,:-]*|\{\w+\}", part) for part in parts)
    assert "security" not in DOCUMENT
    schemas = DOCUMENT["components"]["schemas"]
    keywords = {key for schema in inside(schemas) for key in schema}
    assert not keywords & {"default", "discriminator", "readOnly", "exclusiveMinimum", "format"}
    unions = [
        schema[key]
        for schema in inside(schemas)
        for key in ("anyOf", "oneOf", "allOf")
        if key in schema
    ]
    assert not any("$ref" in schema for union in unions for schema in inside(union))


@pytest.mark.parametrize("at", OPERATIONS, ids=" ".join)
def test_answers_name_their_schema_and_are_written_out(at: tuple[str, str]) -> None:
    for response in OPERATIONS[at]["responses"].values():
        assert "$ref" not in response
        assert all(set(content["schema"]) == {"$ref"} for content in response["content"].values())
    assert "default" not in OPERATIONS[at]["responses"]


def test_what_api_gateway_validates_knows_no_nullable() -> None:
    validated = [
        at for at, op in OPERATIONS.items() if "x-amazon-apigateway-request-validator" in op
    ]
    assert validated == [at for at in KINESIS if at[1] in {"post", "put"}]

    text = json.dumps([OPERATIONS[at]["requestBody"] for at in validated])
    names = set(re.findall(r"#/components/schemas/(\w+)", text))
    while True:
        more = {
            name
            for known in names
            for name in re.findall(
                r"schemas/(\w+)", json.dumps(DOCUMENT["components"]["schemas"][known])
            )
        }
        if more <= names:
            break
        names |= more
    assert names == {
        "NewStream",
        "StreamMode",
        "OneRecord",
        "ManyRecords",
        "RecordOfMany",
        "KinesisData",
        "PartitionKey",
        "ExplicitHashKey",
        "DryRun",
    }
    assert not any("nullable" in DOCUMENT["components"]["schemas"][name] for name in names)


@pytest.mark.parametrize(
    ("name", "body", "fits"),
    [
        ("OneRecord", {"StreamName": "s", "Data": {"index": 1}, "PartitionKey": "p-1"}, True),
        ("OneRecord", {"Data": "text", "PartitionKey": 7}, True),
        ("OneRecord", {"Data": None, "PartitionKey": "p"}, False),
        ("OneRecord", {"Data": 1, "PartitionKey": ""}, False),
        ("OneRecord", {"Data": 1}, False),
        ("ManyRecords", {"records": [{"data": [1], "partition-key": "p"}]}, True),
        ("ManyRecords", {"records": [{"data": 1, "partition-key": "p"}, {"data": 1}]}, False),
        ("ManyRecords", {"records": {}}, False),
        ("OneRecord", {"Data": 1, "PartitionKey": "p", "ExplicitHashKey": 2**127}, True),
        ("OneRecord", {"Data": 1, "PartitionKey": "p", "ExplicitHashKey": "-1"}, False),
        ("OneRecord", {"Data": 1, "PartitionKey": "p", "DryRun": True}, False),
        ("ManyRecords", {"records": [{"data": 1, "partition-key": "p"}], "DryRun": True}, False),
        ("NewStream", {"ShardCount": 1}, True),
        ("NewStream", {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}, True),
        ("NewStream", {"StreamModeDetails": {"StreamMode": "PROVISIONED"}}, False),
        ("NewStream", {"ShardCount": "1"}, False),
    ],
)
def test_the_models_mean_the_same_to_api_gateway(name: str, body: Any, *, fits: bool) -> None:
    """It reads them as JSON Schema draft 4."""
    schema = DOCUMENT["components"]["schemas"][name] | {"components": DOCUMENT["components"]}

    assert Draft4Validator(schema).is_valid(body) == fits


def test_the_refusals_of_api_gateway_are_worded_as_ours() -> None:
    responses = DOCUMENT["x-amazon-apigateway-gateway-responses"]
    bodies = {
        name: (response.get("statusCode"), response["responseTemplates"]["application/json"])
        for name, response in responses.items()
    }

    assert bodies["INVALID_API_KEY"] == (403, '{"message":"Forbidden"}')
    assert bodies["MISSING_AUTHENTICATION_TOKEN"] == (
        404,
        '{"error_code":404,"message":"HTTP 404 Not Found"}',
    )
    assert responses["THROTTLED"]["responseParameters"] == {
        "gatewayresponse.header.Retry-After": "'1'"
    }
    assert "REQUEST_TOO_LARGE" not in bodies  # API Gateway does not let it be changed
    for status, body in bodies.values():
        message = json.loads(body.replace("$context.error.messageString", '"words"'))
        assert message.get("error_code", status) in {status, 50002}


NEW_MEMBERS: dict[str, Any] = {
    "Tags": {"team": "pins"},
    "WarmThroughputMiBps": 10,
    "MaxRecordSizeInKiB": 10240,
    "RecordDistributionStrategy": "AUTO",
}
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | FINITE | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
DATA = JSON_VALUES.filter(lambda data: data is not None)
KEYS = st.text(min_size=1, max_size=256) | st.integers(-(10**40), 10**40)
ODD = [
    {"title": 'a "quoted" \\ back-slash', "n": [1, 2.5, None, True]},
    {"$ref": "#set($x = 1)", "vtl": "${input.body} $util.base64Encode('x') #if(true)"},
    {"zwj": "👩‍🚀", "rtl": "עברית", "fffd": "\ufffd", "sep": "\u2028", "nul": "\x00"},
    '{"already": "json"}',
    "plain 'text' with \"quotes\" \\ and\nlines",
    '"',
    "",
    "null",
    "€ 😀",
    {},
    [],
    0,
    False,
    1e300,
]
ODD_KEYS = [
    "p-1",
    "it's",
    'a"b',
    "back\\slash",
    "tab\t",
    "ключ",
    "😀",
    "$input.body",
    "#end",
    " ",
    7,
    -1,
]


def compact(tree: Any) -> bytes:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()


def put_by_us(record: KinesisRecord) -> dict[str, Any]:
    """Return what botocore sends for a record of the gateway."""
    return record.members | {"Data": base64.b64encode(record.data).decode()}


@pytest.mark.parametrize("data", ODD, ids=repr)
def test_put_record_sends_the_bytes_that_the_gateway_would(data: Any) -> None:
    for key in ODD_KEYS:
        body = compact({"StreamName": "other", "Data": data, "PartitionKey": key})
        sent = render(template("/streams/{stream}/record", "put"), body, stream="orders-1").body

        assert sent == {"StreamName": "orders-1", **put_by_us(kinesis_record(body))}


@pytest.mark.parametrize("hash_key", ["0", 0, "340282366920938463463374607431768211455", 7])
def test_api_gateway_hands_the_explicit_hash_key_on_as_the_gateway_does(hash_key: Any) -> None:
    one = {"Data": {}, "PartitionKey": "k", "ExplicitHashKey": hash_key}
    one["SequenceNumberForOrdering"] = f"00{hash_key}"
    body = compact(one)
    sent = render(template("/streams/{stream}/record", "put"), body, stream="s").body
    assert "ExplicitHashKey" in sent
    assert sent == {"StreamName": "s", **put_by_us(kinesis_record(body))}

    members = ["explicit-hash-key", "ExplicitHashKey"]
    body = compact({"records": [{"data": 1, "partition-key": "k", m: hash_key} for m in members]})
    sent = render(template("/streams/{stream}/records", "put"), body, stream="s").body
    assert sent == {"StreamName": "s", "Records": [put_by_us(r) for r in kinesis_records(body)]}


@settings(deadline=None)
@given(DATA, KEYS)
def test_put_record_sends_the_same_bytes_whatever_the_data(data: Any, key: str | int) -> None:
    body = compact({"Data": data, "PartitionKey": key})
    sent = render(template("/streams/{stream}/record", "put"), body, stream="s").body

    assert sent == {"StreamName": "s", **put_by_us(kinesis_record(body))}


@settings(deadline=None)
@given(st.lists(st.tuples(DATA, KEYS), min_size=1, max_size=5))
def test_put_records_sends_the_same_bytes_in_the_same_order(given_: list[tuple[Any, Any]]) -> None:
    body = compact({"records": [{"data": data, "partition-key": key} for data, key in given_]})
    sent = render(template("/streams/{stream}/records", "put"), body, stream="s").body

    assert sent == {"StreamName": "s", "Records": [put_by_us(r) for r in kinesis_records(body)]}


@pytest.mark.parametrize("write", [json.dumps, partial(json.dumps, indent=2)])
def test_blanks_and_escapes_of_the_request_are_not_stored(write: Callable[[Any], str]) -> None:
    body = write({"Data": {"title": 'é 👩‍🚀 "\\/', "n": [1, 2]}, "PartitionKey": "é"}).encode()
    sent = render(template("/streams/{stream}/record", "put"), body, stream="s").body

    assert base64.b64decode(sent["Data"]) == '{"title":"é 👩‍🚀 \\"\\\\/","n":[1,2]}'.encode()
    assert sent == {"StreamName": "s", **put_by_us(kinesis_record(body))}


@pytest.mark.slow
def test_put_records_sends_five_hundred_records() -> None:
    body = compact({"records": [{"data": {"n": n}, "partition-key": n} for n in range(500)]})
    sent = render(template("/streams/{stream}/records", "put"), body, stream="s").body

    assert sent["Records"] == [put_by_us(record) for record in kinesis_records(body)]


@pytest.mark.parametrize(
    ("path", "method", "body", "params", "sent"),
    [
        ("/streams", "get", b"", {}, {"Limit": 100}),
        (
            "/streams",
            "get",
            b"",
            {"Limit": "5", "NextToken": 'a+/="'},
            {"Limit": 5, "NextToken": 'a+/="'},
        ),
        (
            "/streams",
            "get",
            b"",
            {"ExclusiveStartStreamName": "a.b"},
            {"Limit": 100, "ExclusiveStartStreamName": "a.b"},
        ),
        ("/streams", "get", b"", {"Limit": 'no"ne'}, {"Limit": 'no"ne'}),
        ("/streams/{stream}", "get", b"", {"stream": "s"}, {"StreamName": "s", "Limit": 100}),
        (
            "/streams/{stream}",
            "get",
            b"",
            {"stream": "s", "Limit": "1", "ExclusiveStartShardId": "shardId-0"},
            {"StreamName": "s", "Limit": 1, "ExclusiveStartShardId": "shardId-0"},
        ),
        ("/streams/{stream}", "delete", b"", {"stream": "s"}, {"StreamName": "s"}),
        (
            "/streams/{stream}",
            "post",
            b'{"ShardCount": 2, "other": 1}',
            {"stream": "s"},
            {"StreamName": "s", "ShardCount": 2},
        ),
        (
            "/streams/{stream}",
            "post",
            b'{"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}',
            {"stream": "s"},
            {"StreamName": "s", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}},
        ),
        (
            "/streams/{stream}",
            "post",
            json.dumps({"ShardCount": 1} | NEW_MEMBERS).encode(),
            {"stream": "s"},
            {"StreamName": "s", "ShardCount": 1} | NEW_MEMBERS,
        ),
    ],
)
def test_the_other_actions_get_what_they_need(
    path: str, method: str, body: bytes, params: dict[str, str], sent: dict[str, Any]
) -> None:
    assert render(template(path, method), body, **params).body == sent


@pytest.mark.parametrize("at", KINESIS, ids=" ".join)
@pytest.mark.parametrize("prefix", ["", "com.amazonaws.kinesis.v20131202#"])
def test_a_stream_that_is_not_there_is_404(at: tuple[str, str], prefix: str) -> None:
    said = {"__type": f"{prefix}ResourceNotFoundException", "message": "Stream s not found"}
    status, answer = answered(*at, 400, said)

    assert status == 404
    assert answer.body == said | {"__type": "ResourceNotFoundException"}


@pytest.mark.parametrize("code", sorted(THROTTLED))
@pytest.mark.parametrize("at", KINESIS, ids=" ".join)
def test_throttling_is_429_with_a_time_to_come_back(at: tuple[str, str], code: str) -> None:
    status, answer = answered(*at, 400, {"__type": code, "message": SENTENCE})

    assert (status, answer.override["header"]) == (429, {"Retry-After": "1"})
    assert answer.body == {"__type": code, "message": SENTENCE}


@pytest.mark.parametrize("at", KINESIS, ids=" ".join)
def test_other_refusals_of_kinesis_are_400_in_its_words(at: tuple[str, str]) -> None:
    said = {"__type": "InvalidArgumentException", "message": SENTENCE}
    status, answer = answered(*at, 400, said)

    assert (status, answer.body, answer.override["header"]) == (400, said, {})


@pytest.mark.parametrize("at", KINESIS, ids=" ".join)
def test_a_failure_of_kinesis_is_500(at: tuple[str, str]) -> None:
    status, answer = answered(*at, 503, {"__type": "ServiceUnavailable", "message": "x"})

    assert (status, answer.body["__type"]) == (500, "InternalFailure")


@pytest.mark.parametrize("method", ["post", "delete"])
def test_an_action_without_an_answer_is_answered_with_an_empty_object(method: str) -> None:
    assert answered("/streams/{stream}", method, 200, "")[1].text == "{}"


STORED = {"ShardId": "shardId-000000000000", "SequenceNumber": "1"}
REFUSED = {"ErrorCode": THROUGHPUT, "ErrorMessage": SENTENCE}
FAILED = {"ErrorCode": "InternalFailure", "ErrorMessage": "Internal service failure."}


@pytest.mark.parametrize("entries", [[STORED], [STORED, REFUSED], [REFUSED, FAILED], [FAILED]])
def test_put_records_answers_with_kinesis_own_entries(entries: list[dict[str, str]]) -> None:
    failed = sum("ErrorCode" in entry for entry in entries)
    said = {"FailedRecordCount": failed, "Records": entries}
    status, answer = answered("/streams/{stream}/records", "put", 200, said)

    assert (status, answer.body) == (200, said)


def test_put_records_of_which_all_were_throttled_is_429() -> None:
    said = {"FailedRecordCount": 2, "Records": [REFUSED, REFUSED]}
    status, answer = answered("/streams/{stream}/records", "put", 200, said)

    assert (status, answer.override["header"]) == (429, {"Retry-After": "1"})
    assert answer.body == {"__type": THROUGHPUT, "message": SENTENCE}
