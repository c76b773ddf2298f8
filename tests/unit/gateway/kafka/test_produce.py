"""The Kafka REST Proxy's produce routes, on a broker.

What the REST Proxy answers is taken from kafka-rest 8.5.0: resources/v2/AbstractProduceAction.java,
ProduceToTopicAction.java, ProduceToPartitionAction.java, entities/v2/ProduceResponse.java, Errors.
"""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import requests
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.http.request_codec import KafkaRecord, kafka_records
from gateway.http.responses import Refusal
from gateway.kafka import producer
from gateway.kafka.producer import Failed, Outcome, Stored, failure
from tests.support.brokers import Broker
from tests.support.gateways import BINARY_FORMAT, JSON_FORMAT, Read, read, running

SERVED = "gateway.served"
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(),
    (JSON_VALUES | st.floats()).map(json.dumps).map(str.encode),
    st.lists(st.dictionaries(st.sampled_from(["key", "value", "partition"]), JSON_VALUES)).map(
        lambda records: json.dumps({"records": records}).encode()
    ),
)


@pytest.fixture(scope="module")
def url(mock_broker: Broker) -> Iterator[str]:
    with running(mock_broker.properties, served=[SERVED]) as running_url:
        yield f"{running_url}/test"


@pytest.fixture
def topic(mock_broker: Broker) -> str:
    return mock_broker.create_topic()


def post(url: str, topic: str, body: Any, headers: Any = JSON_FORMAT) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"{url}/topics/{topic}", data=data, headers=headers, timeout=30)


def test_success_is_the_rest_proxys_own_body(url: str, topic: str) -> None:
    answer = post(url, topic, {"records": [{"value": {"index": 1}, "partition": 2}]})

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.kafka.v2+json"
    assert answer.text == (
        '{"offsets":[{"partition":2,"offset":0,"error_code":null,"error":null}],'
        '"key_schema_id":null,"value_schema_id":null}'
    )


def test_the_offsets_are_those_of_the_records_in_request_order(
    mock_broker: Broker, url: str, topic: str
) -> None:
    values = [{"index": n} for n in range(500)]
    answer = post(url, topic, {"records": [{"key": n["index"], "value": n} for n in values]})

    stored = {(r.partition, r.offset): r for r in read(mock_broker.bootstrap, topic, 500)}
    found = [stored[o["partition"], o["offset"]] for o in answer.json()["offsets"]]
    assert [json.loads(r.value or b"") for r in found] == values
    assert len({r.partition for r in found}) == 4


def test_json_is_stored_as_compact_text(mock_broker: Broker, url: str, topic: str) -> None:
    body = '{"records": [{"key": 7, "partition": 0, "value": {"title": "é \\ud83d\\ude00"}}]}'
    assert post(url, topic, body.encode()).status_code == 200

    stored = '{"title":"é \\ud83d\\ude00"}'.encode()
    assert read(mock_broker.bootstrap, topic, 1) == [Read(0, 0, b"7", stored)]


@pytest.mark.parametrize("key", ['"é\\n😀"', '"\\u00e9\\u000a\\ud83d\\ude00"', ' "\\u00E9\\n😀"'])
def test_a_key_has_the_same_bytes_however_it_is_spelt(key: str) -> None:
    [record] = kafka_records(f'{{"records":[{{"key":{key}}}]}}'.encode(), binary=False)

    assert record.key == '"é\\n😀"'.encode()


def test_a_json_null_is_a_null_key_and_a_tombstone(
    mock_broker: Broker, url: str, topic: str
) -> None:
    records: list[Any] = [{"key": None, "value": "x"}, {"key": "k", "value": None}, {"value": [0]}]
    post(url, topic, {"records": [record | {"partition": 1} for record in records]})

    assert [(r.key, r.value) for r in read(mock_broker.bootstrap, topic, 3)] == [
        (None, b'"x"'),
        (b'"k"', None),
        (None, b"[0]"),
    ]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/vnd.kafka.binary.v2+json",
        "Application/Vnd.Kafka.V2+JSON",
        "application/vnd.kafka+json",
        "application/json; charset=utf-8",
        "application/octet-stream",
    ],
)
def test_binary_values_are_decoded_from_base64(
    mock_broker: Broker, url: str, topic: str, content_type: str
) -> None:
    value = base64.b64encode(b"\xff\x00{").decode()
    body = {"records": [{"key": "aw==", "value": value}]}
    answer = post(url, topic, body, {"Content-Type": content_type})

    assert answer.json()["offsets"][0]["error_code"] is None
    assert [(r.key, r.value) for r in read(mock_broker.bootstrap, topic, 1)] == [
        (b"k", b"\xff\x00{")
    ]


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b'{"index":1,"title":"x"}', 422, 422, "Unrecognized field: index"),
        (b'{"records":[{"value":1,"vaule":2}]}', 422, 422, "Unrecognized field: vaule"),
        (b"", 422, 42206, "Payload error. Request body is empty. Data is required."),
        (b"{}", 422, 422, "records must not be empty"),
        (b'{"records":[]}', 422, 422, "records must not be empty"),
        (b'{"records":null}', 422, 422, "records must not be empty"),
        (b"null", 422, 42206, "Payload error. Request body is empty. Data is required."),
        (b'{"records":"x"}', 400, 400, "records: Expected `array`, got `str`"),
        (b'{"records":{"value":1}}', 400, 400, "records: Expected `array`, got `object`"),
        (b'{"records":[1]}', 400, 400, "records[0]: Expected `object`, got `int`"),
        (b'["x"]', 400, 400, "Expected `object`, got `array`"),
        (
            b'{"records":[{},{"partition":-1}]}',
            422,
            422,
            "records[1].partition: Expected `int` >= 0",
        ),
        (b"[" * 100_000, 400, 400, "Expected `object`, got `array`"),
        (b'{"records":[{"value":%b' % (b"[" * 9**5), 400, 400, "Malformed JSON: nested too deeply"),
        (b'{"records":["\xff"]}', 400, 400, "Malformed JSON: byte 13 is not UTF-8"),
    ],
)
def test_a_bad_body_is_refused_with_the_offending_field_named(
    url: str, body: bytes, status: int, code: int, message: str
) -> None:
    answer = post(url, SERVED, body)

    assert (answer.status_code, answer.json()) == (status, {"error_code": code, "message": message})
    assert answer.headers["content-type"] == "application/vnd.kafka.v2+json"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"'",
        b'{"records":[{"value":1}]} x',
        b'{"records":[{"value":NaN}]}',
        b'{"records":[{"value":"\\ud800"}]}',
        b'{"records":[{"value":"\\udc00"}]}',
        b'{"records":[{"value":1}],"\\ud800":1}',
    ],
)
def test_malformed_json_is_400(url: str, body: bytes) -> None:
    answer = post(url, SERVED, body)

    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Malformed JSON: ")


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ('"no base64!"', 422),
        ('"YQ"', 422),
        ('"YWJj="', 422),
        ('"é"', 422),
        ("{}", 400),
        ("[]", 400),
        ("1", 400),
        ("true", 400),
    ],
)
def test_a_binary_value_is_base64_text(url: str, value: str, status: int) -> None:
    answer = post(url, SERVED, f'{{"records":[{{"value":{value}}}]}}'.encode(), BINARY_FORMAT)

    assert answer.status_code == status
    assert answer.json()["message"].startswith("records[0].value: ")
    assert "application/vnd.kafka.json.v2+json" in answer.json()["message"]


@pytest.mark.parametrize(
    "text",
    ["\\ud800", "long \\ud800 text that goes on for a while", "\\uDC00\\uD800", "\\\\\\ud83d"],
)
@pytest.mark.parametrize("member", ['"value":"{}"', '"key":"{}"', '"{}":1'])
def test_half_of_a_surrogate_pair_is_named(text: str, member: str) -> None:
    body = '{"records":[{' + member.replace("{}", text) + "}]}"
    half = re.findall(r"\\u[dD]...", text)[0]

    with pytest.raises(Refusal, match="is half of a surrogate pair") as refused:
        kafka_records(body.encode(), binary=False)
    assert f"{half} is half of a surrogate pair, no character (byte {body.index(half)})" in str(
        refused.value
    )


def test_a_whole_surrogate_pair_is_a_character() -> None:
    body = b'{"records":[{"key":"\\uD83D\\uDE00","value":"\\\\ud800"}]}'

    assert kafka_records(body, binary=False) == [KafkaRecord('"😀"'.encode(), b'"\\\\ud800"')]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "application/x-www-form-urlencoded", "application/*"],
)
def test_another_content_type_is_415(url: str, content_type: str) -> None:
    answer = post(url, SERVED, {"records": [{"value": 1}]}, {"Content-Type": content_type})

    assert answer.status_code == 415
    assert answer.json() == {
        "error_code": 415,
        "message": "HTTP 415 Unsupported Media Type: send application/vnd.kafka.json.v2+json or"
        " application/vnd.kafka.binary.v2+json",
    }


@pytest.mark.parametrize("name", ["avro", "jsonschema", "protobuf"])
def test_a_format_with_schemas_is_415_and_told_why(url: str, name: str) -> None:
    media_type = f"application/vnd.kafka.{name}.v2+json"
    answer = post(url, SERVED, {"records": [{"value": 1}]}, {"Content-Type": media_type})

    assert (answer.status_code, answer.json()["error_code"]) == (415, 415)
    assert f"{name} needs a schema registry" in answer.json()["message"]


def test_a_record_goes_to_the_partition_of_the_path(
    mock_broker: Broker, url: str, topic: str
) -> None:
    answer = post(url, f"{topic}/partitions/3", {"records": [{"key": 1, "value": 2}] * 2})

    assert [(o["partition"], o["offset"]) for o in answer.json()["offsets"]] == [(3, 0), (3, 1)]
    assert read(mock_broker.bootstrap, topic, 2) == [Read(3, 0, b"1", b"2"), Read(3, 1, b"1", b"2")]


def test_a_records_own_partition_wins_over_the_paths(url: str, topic: str) -> None:
    records = [{"value": 1, "partition": 0}, {"value": 2, "partition": None}, {"value": 3}]
    answer = post(url, f"{topic}/partitions/2", {"records": records})

    assert [offset["partition"] for offset in answer.json()["offsets"]] == [0, 2, 2]


NO_PARTITION = {"error_code": 40402, "message": "Partition not found."}
NOT_FOUND = {"error_code": 404, "message": "HTTP 404 Not Found"}


@pytest.mark.parametrize(
    ("partition", "body"),
    [
        ("4", NO_PARTITION),
        ("2147483647", NO_PARTITION),
        ("2147483648", NOT_FOUND),
        ("12345678901", NOT_FOUND),
        ("one", NOT_FOUND),
        ("-1", NOT_FOUND),
        ("1.0", NOT_FOUND),
        ("%D9%A1", NOT_FOUND),
    ],
)
def test_a_partition_that_is_not_there_is_404(
    url: str, topic: str, partition: str, body: dict[str, Any]
) -> None:
    answer = post(url, f"{topic}/partitions/{partition}", {"records": [{"value": 1}]})

    assert (answer.status_code, answer.json()) == (404, body)


def test_a_partition_of_a_served_topic_takes_records_before_the_cluster_has_it(
    mock_broker: Broker,
) -> None:
    new = "gateway.served.later"
    with running(mock_broker.properties, served=[new]) as url:
        answer = post(url, f"{new}/partitions/1", {"records": [{"value": 1}]})

    assert answer.json()["offsets"][0]["partition"] == 1


def test_a_partition_of_an_unknown_topic_is_404(url: str) -> None:
    answer = post(url, "gateway.unknown/partitions/0", {"records": [{"value": 1}]})

    assert (answer.status_code, answer.json()["error_code"]) == (404, 40401)


def test_a_bad_body_is_told_before_an_unknown_topic(url: str) -> None:
    assert post(url, "gateway.unknown", {"records": []}).status_code == 422


def test_an_unknown_topic_is_404_and_is_not_created(mock_broker: Broker, url: str) -> None:
    answer = post(url, "gateway.unknown", {"records": [{"value": 1}]})

    assert answer.status_code == 404
    assert answer.json() == {"error_code": 40401, "message": "Topic not found."}
    assert "gateway.unknown" not in mock_broker._producer().list_topics(timeout=10).topics


def test_a_served_topic_takes_records_before_the_cluster_has_it(url: str) -> None:
    answer = post(url, SERVED, {"records": [{"value": 1}]})

    assert answer.json()["offsets"][0]["error_code"] is None


def test_one_record_that_kafka_refuses_does_not_cost_the_others(url: str, topic: str) -> None:
    values = [1, "x" * 1_100_000, 2]
    body = {"records": [{"value": value, "partition": 0} for value in values]}
    answer = post(url, topic, body)

    assert answer.status_code == 200
    refused = {"partition": None, "offset": None, "error_code": 50002}
    first, second, third = answer.json()["offsets"]
    assert (first["offset"], third["offset"]) == (0, 1)
    assert second == refused | {
        "error": "Unable to produce message: Broker: Message size too large"
    }


def test_a_partition_that_the_topic_lacks_is_an_error_of_its_record(url: str, topic: str) -> None:
    answer = post(url, topic, {"records": [{"value": 1, "partition": 99}]})

    assert answer.json()["offsets"] == [
        {
            "partition": None,
            "offset": None,
            "error_code": 50002,
            "error": "Unable to produce message: Local: Unknown partition",
        }
    ]


def test_records_beyond_a_full_queue_may_be_sent_again(mock_broker: Broker, topic: str) -> None:
    small = {"queue.buffering.max.messages": 10, "linger.ms": 200}
    with running(mock_broker.properties | small) as url:
        answer = post(url, topic, {"records": [{"value": n} for n in range(50)]})

    codes = [offset["error_code"] for offset in answer.json()["offsets"]]
    assert codes == [None] * 10 + [50003] * 40
    assert len(read(mock_broker.bootstrap, topic, 10)) == 10


@pytest.mark.slow
def test_an_unreachable_broker_is_503_with_a_time_to_come_back() -> None:
    with capture_logs() as logs, running({"bootstrap.servers": "127.0.0.1:9"}) as url:
        answer = post(url, "any", {"records": [{"value": 1}]})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error_code"] == 50003
    assert {log["error"] for log in logs if log["event"] == "kafka_error"} <= {
        "1/1 brokers are down"
    }


class Refusing:
    """A Kafka that fails the records as it is told, for what a broker without keys never says."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = list(outcomes)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def fault(self) -> str | None:
        """None."""

    async def knows(self, topic: str) -> bool:
        return bool(topic)

    async def produce(self, topic: str, records: Sequence[KafkaRecord]) -> list[Outcome]:
        assert topic
        assert len(records) == len(self._outcomes)
        return self._outcomes


DENIED, STRANGER = Failed(40301, "not authorized"), Failed(40101, "who are you")


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([Stored(0, 1), Failed(50002, "bad"), Failed(50003, "later")], 200),
        ([Stored(0, 1), DENIED], 403),
        ([Failed(50003, "later"), STRANGER], 401),
        ([DENIED, STRANGER], 403),
        ([STRANGER, DENIED], 401),
    ],
)
def test_the_first_record_that_kafka_let_not_in_gives_the_status(
    outcomes: list[Outcome], status: int
) -> None:
    with running(Refusing(*outcomes)) as url:
        answer = post(url, "any", {"records": [{"value": 1}] * len(outcomes)})

    assert answer.status_code == status
    codes = [o.code if isinstance(o, Failed) else None for o in outcomes]
    assert [offset["error_code"] for offset in answer.json()["offsets"]] == codes


@pytest.mark.slow
def test_a_producer_whose_records_only_time_out_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(producer._REQUIRED, "delivery.timeout.ms", 1000)
    nowhere = {"bootstrap.servers": "127.0.0.1:9"}
    with capture_logs() as logs, running(nowhere, served=["t"]) as url:
        answers = [post(url, "t", {"records": [{"value": 1}]}).json() for _ in range(2)]

    assert [a["offsets"][0]["error_code"] for a in answers] == [50003, 50003]
    assert [log["event"] for log in logs].count("kafka_producer_replaced") == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KafkaError._MSG_TIMED_OUT, 50003),
        (KafkaError.NOT_ENOUGH_REPLICAS, 50003),
        (KafkaError.INVALID_RECORD, 50002),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, 40301),
        (KafkaError.SASL_AUTHENTICATION_FAILED, 40101),
    ],
)
def test_kafkas_errors_have_the_rest_proxys_numbers(error: int, code: int) -> None:
    kafkas = KafkaError(error)

    assert failure(kafkas) == Failed(code, kafkas.str())


def parsed(body: bytes, *, binary: bool) -> list[KafkaRecord] | Refusal:
    try:
        return kafka_records(body, binary=binary)
    except Refusal as refusal:
        return refusal


@given(body=BODIES, binary=st.booleans())
def test_any_body_ends_in_records_or_a_refusal(body: bytes, *, binary: bool) -> None:
    result = parsed(body, binary=binary)

    if isinstance(result, Refusal):
        assert result.status in (400, 422)
        assert json.loads(bytes(result.response().body))["message"] == result.message


def test_numbers_and_escapes_are_stored_as_they_were_sent() -> None:
    value = b'{"a": 1e400, "b": 12345678901234567890.10, "c": "\\u00e9\\\\u00e9\\""}'
    [record] = kafka_records(b'{"records":[{"value":%b}]}' % value, binary=False)

    assert record.value == b'{"a":1e400,"b":12345678901234567890.10,"c":"\\u00e9\\\\u00e9\\""}'


@given(st.lists(st.fixed_dictionaries({"key": JSON_VALUES, "value": JSON_VALUES}), min_size=1))
def test_any_json_in_the_envelope_is_stored_as_equal_json(records: list[Any]) -> None:
    stored = kafka_records(json.dumps({"records": records}).encode(), binary=False)

    values = [json.loads(r.value) if r.value is not None else None for r in stored]
    assert values == [record["value"] for record in records]
