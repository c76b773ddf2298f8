"""What the REST Proxy answers beside what we do, row by row; each difference has its reason.

Theirs is kafka-rest 8.5.0 as its source (paths under kafka-rest/src) and its tests say it, without
a schema registry. Code 0: no body, or the body of a success.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import requests

from tests.support.brokers import Broker
from tests.support.gateways import running

JSON_FORMAT = "application/vnd.kafka.json.v2+json"
BINARY = "application/vnd.kafka.binary.v2+json"
ONE = {"records": [{"value": 1}]}
REFERENCE = "as the API's reference and 5.x have it"
AT_ONCE = f"they fail each record with 50003 after 60 s; {REFERENCE}"


class Row(NamedTuple):
    """A request, (status, error_code) of both answers, and where theirs is from."""

    request: str
    theirs: tuple[int, int]
    ours: tuple[int, int]
    source: str
    why: str = ""
    content_type: str | None = None
    accept: str = "*/*"
    body: Any = None


ROWS = [
    Row("GET /", (200, 0), (200, 0), "RootResource"),
    Row("GET /brokers", (200, 0), (200, 0), "BrokersResource"),
    Row("GET /topics", (200, 0), (200, 0), "TopicsResource"),
    Row("GET /topics/{t}", (200, 0), (200, 0), "TopicsResource"),
    Row("GET /topics/{t}/partitions", (200, 0), (200, 0), "PartitionsResource"),
    Row("GET /topics/{t}/partitions/0", (200, 0), (200, 0), "PartitionsResource"),
    Row("GET /topics/{t}/partitions/0/offsets", (200, 0), (200, 0), "PartitionsResource"),
    Row("GET /topics/{t}/partitions/1000", (404, 40402), (404, 40402), "MetadataApiTest"),
    Row("GET /topics/{t}/partitions/1000/offsets", (404, 40402), (404, 40402), "MetadataApiTest"),
    Row("GET /topics/{t}/partitions/x", (404, 404), (404, 404), "PartitionsResource, int"),
    Row("GET /topics/absent", (404, 40403), (404, 40401), "MetadataApiTest", REFERENCE),
    Row("GET /topics/absent/partitions", (404, 40403), (404, 40401), "TopicManagerImpl", REFERENCE),
    Row("GET /nowhere", (404, 404), (404, 404), "WebApplicationExceptionMapper"),
    Row("DELETE /topics/{t}", (405, 405), (405, 405), "WebApplicationExceptionMapper"),
    Row(
        "GET /",
        (406, 0),
        (406, 406),
        "RootResourceTest",
        "its comment calls the missing body incorrect",
        accept="text/plain",
    ),
    Row(
        "GET /topics",
        (406, 0),
        (200, 0),
        "@Produces of TopicsResource",
        REFERENCE,
        accept="application/json",
    ),
    Row(
        "GET /topics",
        (415, 415),
        (200, 0),
        "@Consumes of TopicsResource",
        "a read has no content",
        content_type="application/json",
    ),
    Row("POST /topics/{t}", (200, 0), (200, 0), "ProduceToTopicAction", "", JSON_FORMAT, body=ONE),
    Row(
        "POST /topics/{t}",
        (200, 0),
        (415, 415),
        "BINARY_WEIGHTED of Versions",
        "any web page may send a body without a type",
        body={"records": [{}]},
    ),
    Row(
        "POST /topics/{t}/partitions/0",
        (200, 0),
        (200, 0),
        "ProduceToPartitionAction",
        "",
        JSON_FORMAT,
        body=ONE,
    ),
    Row(
        "POST /topics/{t}",
        (200, 0),
        (200, 0),
        "AbstractProduceAction.doProduce",
        "",
        JSON_FORMAT,
        body={"records": [{"value": 1, "partition": 99}]},
    ),
    Row(
        "POST /topics/{t}",
        (422, 422),
        (422, 422),
        "TopicsResourceBinaryProduceTest",
        "",
        BINARY,
        body={},
    ),
    Row(
        "POST /topics/{t}",
        (422, 422),
        (422, 422),
        "JacksonMessageBodyProvider of rest-utils",
        "",
        JSON_FORMAT,
        body={"index": 1},
    ),
    Row(
        "POST /topics/{t}",
        (400, 400),
        (400, 400),
        "JsonParseExceptionMapper of rest-utils",
        "",
        JSON_FORMAT,
        body=b"{",
    ),
    Row(
        "POST /topics/{t}",
        (422, 422),
        (422, 42206),
        "ProducerTest.testNullPayload",
        "their code for it before @NotNull, and v3's",
        JSON_FORMAT,
        body=b"",
    ),
    *[
        Row(
            "POST /topics/{t}",
            (400, 400),
            (400, 400),
            "JsonMappingExceptionMapper of rest-utils",
            "",
            JSON_FORMAT,
            body=body,
        )
        for body in (b'{"records":"x"}', b'["x"]', b'{"records":["x"]}', b'{"records":{}}', b"1")
    ],
    Row(
        "POST /topics/{t}",
        (400, 400),
        (400, 400),
        "BinaryTopicProduceRequest of 5.x",
        "",
        BINARY,
        body={"records": [{"value": {}}]},
    ),
    Row(
        "POST /topics/{t}",
        (422, 422),
        (422, 422),
        "ProduceRequest.fromJson",
        "",
        JSON_FORMAT,
        body={"records": None},
    ),
    Row(
        "POST /topics/{t}",
        (200, 0),
        (400, 400),
        "Jackson's coercion",
        "a partition that is text may be a mistake",
        JSON_FORMAT,
        body={"records": [{"value": 1, "partition": "0"}]},
    ),
    Row(
        "POST /topics/{t}",
        (200, 0),
        (400, 400),
        "FAIL_ON_TRAILING_TOKENS is off",
        "what follows would be lost without a word",
        JSON_FORMAT,
        body=b'{"records":[{"value":1}]} {"records":[{"value":2}]}',
    ),
    Row(
        "POST /topics/{t}",
        (400, 400),
        (422, 422),
        "NoSchemaRecordSerializer",
        REFERENCE,
        BINARY,
        body={"records": [{"value": "no base64!"}]},
    ),
    Row(
        "POST /topics/{t}",
        (415, 415),
        (415, 415),
        "RootResourceTest.testInvalidEntityContentType",
        "",
        "text/plain",
        body=ONE,
    ),
    Row(
        "POST /topics/{t}",
        (415, 415),
        (200, 0),
        "@Consumes of ProduceToTopicAction",
        REFERENCE,
        "application/json",
        body={"records": [{"value": "YQ=="}]},
    ),
    Row(
        "POST /topics/{t}",
        (422, 42207),
        (415, 415),
        "SchemaRecordSerializerThrowing",
        "nobody can send this format here, whatever its body",
        "application/vnd.kafka.avro.v2+json",
        body=ONE,
    ),
    Row(
        "POST /topics/absent",
        (200, 0),
        (404, 40401),
        "ProducerTest.testProduceToInvalidTopic",
        AT_ONCE,
        JSON_FORMAT,
        body=ONE,
    ),
    Row(
        "POST /topics/{t}/partitions/1000",
        (200, 0),
        (404, 40402),
        "ProduceControllerImpl",
        AT_ONCE,
        JSON_FORMAT,
        body=ONE,
    ),
]


@pytest.fixture(scope="module")
def url(mock_broker: Broker) -> Iterator[str]:
    with running(mock_broker.properties) as running_url:
        yield running_url


@pytest.fixture(scope="module")
def topic(mock_broker: Broker) -> str:
    return mock_broker.create_topic()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.request} {row.source}")
def test_the_answer_is_the_rest_proxys_or_differs_for_a_reason(
    url: str, topic: str, row: Row
) -> None:
    method, path = row.request.split()
    headers = {"Content-Type": row.content_type, "Accept": row.accept}
    data = json.dumps(row.body) if isinstance(row.body, dict) else row.body
    at = url + path.replace("{t}", topic)
    answer = requests.request(method, at, data=data, headers=headers, timeout=30)

    body = answer.json()
    code = body.get("error_code", 0) if isinstance(body, dict) else 0
    assert (answer.status_code, code) == row.ours
    assert bool(row.why) == (row.theirs != row.ours)
