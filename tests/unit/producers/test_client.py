"""The gateway's client against a real HTTP server that answers by script, and the gateway."""

import base64
import json
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from confluent_kafka import KafkaError

from core.errors import ConfigError
from producers.client import GatewayClient
from producers.delivery import DeliveryReport, DeliveryStatus, ProducerRecord, Retry
from producers.emulator import event
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.clock import ManualClock
from tests.support.gateways import read, running

LOST = object()
SILENT = object()
TORN = object()
RECORDS = [ProducerRecord(key, {"ind": key, "country": "Côte 🎉"}) for key in range(3)]


@dataclass
class Script:
    """The answers a server gives in turn (the last one again and again), and what it was asked.

    `probes`: its answers to the first requests without a body; the others get 422.
    """

    answers: list[Any]
    url: str = ""
    scope: str = ""
    probes: list[Any] = field(default_factory=list)
    probed: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)

    def next(self) -> Any:
        """Return the next response."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Handler(BaseHTTPRequestHandler):
    """Answers by its script."""

    script: Script
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Note what was asked and answer by the script."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not body:
            self.script.probed += 1
            self.obey(self.script.probes.pop(0) if self.script.probes else (422, {}))
            return
        self.script.asked.append((self.command, self.path, dict(self.headers), json.loads(body)))
        self.script.connections.add(self.client_address)
        self.obey(self.script.next())

    def obey(self, answer: Any) -> None:
        """Give an answer, or none, or only the start of its head."""
        if any(answer is how for how in (LOST, SILENT, TORN)):
            self.withhold(answer)
            return
        status, tree = answer
        text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
        self.say(status, text)

    def withhold(self, how: Any) -> None:
        """Answer nothing whole."""
        if how is SILENT:
            self.script.over.wait(20)
        if how is TORN:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: appl")
            self.wfile.flush()
            self.close_connection = True
        else:
            self.reset()

    def say(self, status: int, text: bytes) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Location", "/elsewhere")
        if self.script.scope:
            self.send_header("Idempotency-Scope", self.script.scope)
        self.end_headers()
        self.wfile.write(text)

    def reset(self) -> None:
        """Drop the connection without an answer."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    do_POST = do_PUT = answer  # noqa: N815 - http.server's names


@contextmanager
def serving(*answers: Any) -> Iterator[Script]:
    script = Script(list(answers))
    by_script = type("ByScript", (Handler,), {"script": script})
    with ThreadingHTTPServer(("127.0.0.1", 0), by_script) as server:
        script.url = f"http://127.0.0.1:{server.server_port}/test"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield script
        finally:
            script.over.set()
            server.shutdown()
            thread.join()


def client(
    url: str, clock: ManualClock | None = None, tries: int = 3, **more: Any
) -> GatewayClient:
    retry = Retry(tries, clock or ManualClock(), random.Random(1), seconds=0)
    return GatewayClient(url, retry=retry, **more)


def offsets(*codes: int | None) -> tuple[int, dict[str, Any]]:
    entries = [
        {"partition": 2, "offset": 10 + n, "error_code": None, "error": None}
        if code is None
        else {"partition": None, "offset": None, "error_code": code, "error": "no"}
        for n, code in enumerate(codes)
    ]
    return 200, {"offsets": entries, "key_schema_id": None, "value_schema_id": None}


def puts(*codes: str | None) -> tuple[int, dict[str, Any]]:
    entries = [
        {"SequenceNumber": str(10 + n), "ShardId": "shardId-000000000001"}
        if code is None
        else {"ErrorCode": code, "ErrorMessage": "no"}
        for n, code in enumerate(codes)
    ]
    return 200, {"FailedRecordCount": 1, "Records": entries}


def outcomes(results: list[DeliveryReport]) -> list[str]:
    return [str(result.status) for result in results]


def test_json_values_go_in_the_json_format_with_the_key_as_a_number() -> None:
    with serving(offsets(None, None, None)) as script, client(script.url) as gateway:
        results = gateway.send_kafka("demo.pin", RECORDS)
    method, path, headers, body = script.asked[0]
    assert (method, path) == ("POST", "/test/topics/demo.pin")
    assert headers["Content-Type"] == "application/vnd.kafka.json.v2+json"
    assert body == {"records": [{"key": r.key, "value": r.value} for r in RECORDS]}
    assert results[1] == DeliveryReport(DeliveryStatus.STORED, "2", 11)


def test_bytes_go_in_the_binary_format_and_results_keep_the_order_of_the_records() -> None:
    mixed = [ProducerRecord(5, b"\xff"), RECORDS[0], ProducerRecord(6, b"")]
    with serving(offsets(None), offsets(None, 50002)) as script, client(script.url) as gateway:
        results = gateway.send_kafka("demo.pin", mixed)
    assert script.asked[1][2]["Content-Type"] == "application/vnd.kafka.binary.v2+json"
    sent = script.asked[1][3]["records"]
    assert [base64.b64decode(r["value"]) for r in sent] == [b"\xff", b""]
    assert [base64.b64decode(r["key"]) for r in sent] == [b"5", b"6"]
    assert outcomes(results) == ["stored", "stored", "rejected"]


def test_kinesis_records_carry_their_key_as_text_and_bytes_as_text() -> None:
    with serving(puts(None, None)) as script, client(script.url) as gateway:
        results = gateway.send_kinesis(
            "streaming-demo-geo", [RECORDS[1], ProducerRecord(9, b"{oops")]
        )
    method, path, headers, body = script.asked[0]
    assert (method, path) == ("PUT", "/test/streams/streaming-demo-geo/records")
    assert headers["Content-Type"] == "application/json"
    assert body["records"][0] == {"data": RECORDS[1].value, "partition-key": "1"}
    assert body["records"][1] == {"data": "{oops", "partition-key": "9"}
    assert results[0] == DeliveryReport(DeliveryStatus.STORED, "shardId-000000000001", "10")


def test_the_api_key_goes_with_every_request() -> None:
    with serving(offsets(None)) as script, client(script.url, api_key="k") as gateway:
        gateway.send_kafka("t", RECORDS[:1])
    assert script.asked[0][2]["x-api-key"] == "k"


def test_the_connection_is_kept_between_requests() -> None:
    with serving(offsets(None)) as script, client(script.url) as gateway:
        for _ in range(3):
            gateway.send_kafka("t", RECORDS[:1])
    assert (len(script.asked), len(script.connections)) == (3, 1)


def test_only_the_retriable_record_is_sent_again() -> None:
    clock = ManualClock()
    with serving(offsets(None, 50003, 50002), offsets(None)) as script:
        results = client(script.url, clock).send_kafka("t", RECORDS)
    assert [r["key"] for r in script.asked[1][3]["records"]] == [1]
    assert outcomes(results) == ["stored", "stored", "rejected"]
    assert "50002" in results[2].error
    assert 0 < clock.monotonic() < 0.1


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._MSG_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._FATAL,
        KafkaError._PURGE_QUEUE,
        KafkaError._PURGE_INFLIGHT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.UNKNOWN_PRODUCER_ID,
    ],
)
def test_a_record_that_the_broker_may_have_is_unknown_and_not_sent_again(code: int) -> None:
    status, body = offsets(50003)
    body["offsets"][0]["error"] = KafkaError(code).str()
    with serving((status, body), offsets(None)) as script:
        results = client(script.url).send_kafka("t", RECORDS[:1])
    assert outcomes(results) == ["unknown"]
    assert len(script.asked) == 1


def test_a_throttled_kinesis_record_is_sent_again_and_one_that_may_be_stored_is_not() -> None:
    answer = puts("ProvisionedThroughputExceededException", "InternalFailure", None)
    with serving(answer, puts(None)) as script:
        results = client(script.url).send_kinesis("s", RECORDS)
    assert [r["partition-key"] for r in script.asked[1][3]["records"]] == ["0"]
    assert outcomes(results) == ["stored", "unknown", "stored"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_gateway_too_busy_to_take_a_request_is_asked_again(status: int) -> None:
    with serving((status, {"message": "later"}), offsets(None, None, None)) as script:
        assert outcomes(client(script.url).send_kafka("t", RECORDS)) == ["stored"] * 3
    assert len(script.asked) == 2


def test_tries_end_and_the_pauses_between_them_grow() -> None:
    clock = ManualClock()
    with serving((429, {"message": "later"})) as script:
        results = client(script.url, clock, tries=6).send_kafka("t", RECORDS)
    assert len(script.asked) == 7
    assert outcomes(results) == ["rejected"] * 3
    assert "later" in results[0].error
    assert 0.5 < clock.monotonic() < 6.3


def test_pauses_have_full_jitter_and_a_limit() -> None:
    pauses = [
        list(Retry(12, ManualClock(), random.Random(n), seconds=0).pauses()) for n in range(300)
    ]
    for n, drawn in enumerate(zip(*pauses, strict=True)):
        limit = min(5.0, 0.1 * 2**n)
        assert 0 <= min(drawn) < 0.1 * limit
        assert 0.9 * limit < max(drawn) <= limit


def test_an_answer_lost_on_the_way_is_unknown_and_never_sent_again() -> None:
    with serving(LOST) as script:
        results = client(script.url).send_kafka("t", RECORDS)
    assert outcomes(results) == ["unknown"] * 3
    assert len(script.asked) == 1


def test_an_answer_that_does_not_come_in_time_is_unknown() -> None:
    with serving(SILENT) as script:
        results = client(script.url, timeout=0.3).send_kinesis("s", RECORDS)
    assert outcomes(results) == ["unknown"] * 3
    assert len(script.asked) == 1


def test_nothing_is_sent_to_a_gateway_that_does_not_say_whose_memory_it_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        results = client(url, timeout=0.1).send_kinesis("s", RECORDS)
    assert outcomes(results) == ["rejected"] * 3
    assert results[0].error == f"no gateway answers at {url}"


def test_a_lost_answer_is_asked_for_again_with_the_same_key_until_it_comes() -> None:
    answers: Any = (LOST, (503, {}), TORN, (500, {}), offsets(None, None, None))
    with serving(*answers) as script:
        script.scope = "one"
        results = client(script.url, tries=4).send_kafka("t", RECORDS)
    assert outcomes(results) == ["stored"] * 3
    assert len(script.asked) == 5
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in script.asked}) == 1
    assert {headers["Idempotency-Scope"] for _, _, headers, _ in script.asked} == {"one"}


def test_an_answer_lost_by_a_gateway_that_is_restarted_is_unknown_and_not_sent_again() -> None:
    with serving(LOST, (412, {}), offsets(None)) as script:
        script.scope = "one"
        gateway = client(script.url)
        assert outcomes(gateway.send_kafka("t", RECORDS[:1])) == ["unknown"]
        assert outcomes(gateway.send_kafka("t", RECORDS[1:2])) == ["stored"]
    assert [body["records"][0]["key"] for *_, body in script.asked] == [0, 0, 1]


def test_a_lost_answer_is_not_asked_for_when_the_gateway_has_forgotten_it() -> None:
    clock = ManualClock()
    with serving(LOST) as script:
        script.scope = "one"
        results = client(script.url, clock, tries=500).send_kafka("t", RECORDS[:1])
    assert outcomes(results) == ["unknown"]
    assert 500 < clock.monotonic() < 600
    assert 100 < len(script.asked) < 500


def test_a_gateway_restarted_between_two_requests_is_told_its_own_scope() -> None:
    with serving(offsets(None), (412, {}), offsets(None)) as script:
        script.scope = "one"
        gateway = client(script.url)
        first = gateway.send_kafka("t", RECORDS[:1])
        script.scope = "two"
        second = gateway.send_kafka("t", RECORDS[1:2])
    assert outcomes(first + second) == ["stored"] * 2
    scopes = [headers["Idempotency-Scope"] for _, _, headers, _ in script.asked]
    assert scopes == ["one", "one", "two"]


def test_gateways_that_take_turns_are_asked_until_one_takes_the_request() -> None:
    with serving((412, {}), (412, {}), offsets(None)) as script:
        script.scope = "one"
        assert outcomes(client(script.url).send_kafka("t", RECORDS[:1])) == ["stored"]


def test_a_refusal_instead_of_a_lost_answer_says_that_nothing_is_stored() -> None:
    with serving(LOST, (404, {"message": "Topic not found."})) as script:
        script.scope = "one"
        results = client(script.url).send_kafka("t", RECORDS[:1])
    assert outcomes(results) == ["rejected"]
    assert len(script.asked) == 2


@pytest.mark.parametrize("spoilt", [LOST, TORN, (503, {}), (429, {})])
def test_the_first_request_waits_until_it_is_known_whose_memory_the_gateway_has(
    spoilt: Any,
) -> None:
    with serving(LOST, offsets(None)) as script:
        script.scope = "one"
        script.probes = [spoilt, spoilt]
        assert outcomes(client(script.url).send_kafka("t", RECORDS[:1])) == ["stored"]
    assert script.probed == 3
    assert [headers["Idempotency-Scope"] for _, _, headers, _ in script.asked] == ["one"] * 2


def test_an_answer_of_something_before_the_gateway_is_not_taken_for_its_lack_of_memory() -> None:
    with serving(offsets(None), LOST, offsets(None)) as script:
        script.probes = [(502, {})]
        gateway = client(script.url)
        first = gateway.send_kafka("t", RECORDS[:1])
        script.scope = "one"
        second = gateway.send_kafka("t", RECORDS[:1])
    assert outcomes(first + second) == ["stored"] * 2


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_a_failed_request_that_may_have_been_stored_is_unknown(status: int) -> None:
    with serving((status, b"<html>")) as script:
        results = client(script.url).send_kinesis("s", RECORDS)
    assert outcomes(results) == ["unknown"] * 3
    assert len(script.asked) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 415, 422])
def test_a_refused_request_is_rejected_with_the_message_of_its_body(status: int) -> None:
    with serving((status, {"message": "because"})) as script:
        results = client(script.url).send_kafka("t", RECORDS)
    assert outcomes(results) == ["rejected"] * 3
    assert results[0].error == f"HTTP {status}: because"
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"offsets": [1]}', b'{"offsets": []}', b"\xff", b"null"]
)
def test_an_answer_without_a_result_for_each_record_is_unknown(answer: bytes) -> None:
    with serving((200, answer)) as script:
        assert outcomes(client(script.url).send_kafka("t", RECORDS)) == ["unknown"] * 3


def test_a_gateway_that_is_not_there_yet_is_tried_again_and_then_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    clock = ManualClock()
    results = client(url, clock).send_kafka("t", RECORDS)
    assert outcomes(results) == ["rejected"] * 3
    assert results[0].error == f"no gateway answers at {url}"
    assert clock.monotonic() > 0


def test_an_address_that_is_no_url_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="not the URL of a gateway"):
        client("gateway:8082").send_kafka("t", RECORDS)


def test_more_than_500_records_or_4_mib_go_in_several_requests() -> None:
    big = [ProducerRecord(n, {"text": "x" * 3_000_000}) for n in range(2)]
    small = [ProducerRecord(n, {}) for n in range(501)]
    with serving(offsets(None), offsets(None), offsets(*[None] * 500), offsets(None)) as script:
        gateway = client(script.url)
        assert outcomes(gateway.send_kafka("t", big)) == ["stored"] * 2
        assert outcomes(gateway.send_kafka("t", small)) == ["stored"] * 501
    assert [len(body["records"]) for *_, body in script.asked] == [1, 1, 500, 1]


def test_nothing_to_send_asks_nothing() -> None:
    assert client("http://127.0.0.1:1").send_kafka("t", []) == []


def test_the_real_gateway_stores_what_the_client_sends(mock_broker: Broker, aws: TestAws) -> None:
    topic, stream = mock_broker.create_topic(), aws.stream(shards=1)
    row = event(1, 1).rows["pin"]
    records = [ProducerRecord(1, row), ProducerRecord(2, b"\xff{"), ProducerRecord(3, "text")]
    kinesis = aws.client("kinesis")
    with running(mock_broker.properties, kinesis=kinesis, served=[topic]) as url:
        gateway = client(url)
        by_kafka = gateway.send_kafka(topic, records)
        by_kinesis = gateway.send_kinesis(
            stream, [records[0], ProducerRecord(2, b"{oops"), records[2]]
        )
    assert outcomes(by_kafka + by_kinesis) == ["stored"] * 6
    held = {record.key: record for record in read(mock_broker.bootstrap, topic, 3)}
    assert json.loads(held[b"1"].value or b"") == row
    assert [held[b"2"].value, held[b"3"].value] == [b"\xff{", b'"text"']
    places = [(str(held[key].partition), held[key].offset) for key in (b"1", b"2", b"3")]
    assert [(result.partition, result.position) for result in by_kafka] == places
    start = kinesis.get_shard_iterator(
        StreamName=stream, ShardId=by_kinesis[0].partition, ShardIteratorType="TRIM_HORIZON"
    )
    stored = kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]
    assert [record["PartitionKey"] for record in stored] == ["1", "2", "3"]
    assert json.loads(stored[0]["Data"]) == row
    assert [record["Data"] for record in stored[1:]] == [b"{oops", b"text"]
