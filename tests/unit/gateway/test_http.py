"""What holds for every route: keys, limits, paths, last resorts, the process's life."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import requests
from structlog.testing import capture_logs

from core.config import Config, Gateway
from core.errors import ConfigError, FatalError
from core.web import hashed
from gateway.http.request_codec import KafkaRecord
from gateway.kafka.producer import Outcome
from gateway.server import kinesis_client, serve, served_topics
from pinpip import configfile
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.gateway_process import free_port
from tests.support.gateways import JSON_FORMAT, read, running
from tests.support.places import ROOT
from tests.support.wire import connected, exchange

KEYS = {name: hashed(key.encode()) for name, key in {"one": "k1", "two": "clé-2"}.items()}
SETTINGS = Gateway.model_validate({"api_keys": KEYS, "max_body": 1000})
RECORDS = {"records": [{"value": {"index": 1}}]}


@pytest.fixture(scope="module")
def url(mock_broker: Broker) -> Iterator[str]:
    settings = Gateway.model_validate({"max_body": 1000})
    with running(mock_broker.properties, settings=settings, served=["http"]) as running_url:
        yield running_url


@pytest.fixture(scope="module")
def guarded(mock_broker: Broker) -> Iterator[str]:
    with running(mock_broker.properties, settings=SETTINGS, served=["http"]) as running_url:
        yield running_url


@pytest.mark.parametrize("stage", ["", "/test"])
def test_routes_answer_under_the_stage_and_without_it(url: str, stage: str) -> None:
    path = f"{url}{stage}/topics/http"

    assert requests.post(path, json=RECORDS, headers=JSON_FORMAT, timeout=10).status_code == 200
    assert requests.get(f"{url}{stage}/health", timeout=10).json() == {"status": "ok"}


@pytest.mark.parametrize("stage", ["", "/test"])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/topics/?topic=x", 200),
        ("POST", "/topics/http/", 200),
        ("GET", "/health/", 200),
        ("GET", "/", 200),
        ("GET", "", 200),
    ],
)
def test_a_slash_at_the_end_of_a_path_changes_nothing(
    url: str, stage: str, method: str, path: str, status: int
) -> None:
    body = None if method == "GET" else RECORDS
    answer = requests.request(
        method, url + stage + path, json=body, headers=JSON_FORMAT, timeout=10
    )

    assert answer.status_code == status


@pytest.mark.parametrize("key", [b"k1 ", b"\tk1", b" k1\t "])
def test_blanks_around_a_headers_value_are_not_part_of_it(guarded: str, key: bytes) -> None:
    with connected(guarded) as client:
        client.sendall(b"GET /brokers HTTP/1.1\r\nHost: x\r\nx-api-key:" + key + b"\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/other/topics/http",
        "/topics/http//",
        "/topics%2Fhttp",
        "/test%2Ftopics/http",
        "/topics/http/partitions%2F0",
        "/topics/http/partitions%0A",
        "/health%0A",
    ],
)
def test_an_unknown_path_is_404(url: str, path: str) -> None:
    answer = requests.post(url + path, json=RECORDS, headers=JSON_FORMAT, timeout=10)

    assert answer.status_code == 404
    assert answer.json() == {"error_code": 404, "message": "HTTP 404 Not Found"}


@pytest.mark.parametrize(
    "segment",
    ["http%2Fpartitions%2F0", "http%2fpartitions%2f0", "http%2F", "a%252Fb", "%2E%2E%2Fx"],
)
def test_an_encoded_slash_is_part_of_a_topics_name(url: str, segment: str) -> None:
    answer = requests.post(f"{url}/topics/{segment}", json=RECORDS, headers=JSON_FORMAT, timeout=10)

    assert answer.status_code == 404
    assert answer.json() == {"error_code": 40401, "message": "Topic not found."}


def test_an_encoded_slash_is_part_of_a_streams_name(url: str) -> None:
    answer = requests.put(f"{url}/streams/s%2Frecords", json={"records": []}, timeout=10)

    assert answer.status_code == 405  # there is no such method of a stream


@pytest.mark.parametrize("path", ["/topics/ht%74p", "/%74opics/http", "/t%65st/topics/http/"])
def test_other_encoded_characters_are_what_they_stand_for(url: str, path: str) -> None:
    body = json.dumps(RECORDS).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    media = f"Content-Type: {JSON_FORMAT['Content-Type']}\r\nConnection: close\r\n\r\n"

    assert exchange(url, f"{head}{media}".encode() + body).startswith(b"HTTP/1.1 200 ")


def test_another_method_is_405_with_those_that_are_allowed(url: str) -> None:
    answer = requests.put(f"{url}/test/streams/s", timeout=10)

    assert answer.status_code == 405
    assert answer.json() == {"error_code": 405, "message": "HTTP 405 Method Not Allowed"}
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST", "DELETE"}


@pytest.mark.parametrize("key", [None, "", "k", "k11", "K1", b"\xff"])
@pytest.mark.parametrize("path", ["/test/topics/http", "/nowhere"])
def test_without_one_of_the_keys_everything_is_forbidden(
    guarded: str, path: str, key: str | bytes | None
) -> None:
    headers: Any = JSON_FORMAT | ({} if key is None else {"x-api-key": key})
    answer = requests.post(guarded + path, json=RECORDS, headers=headers, timeout=10)

    assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})


@pytest.mark.parametrize("key", ["k1", "clé-2"])
def test_each_of_the_keys_opens(guarded: str, key: str) -> None:
    headers: Any = JSON_FORMAT | {"x-api-key": key.encode()}
    path = f"{guarded}/test/topics/http"

    assert requests.post(path, json=RECORDS, headers=headers, timeout=10).status_code == 200


def test_health_wants_no_key(guarded: str) -> None:
    assert requests.get(f"{guarded}/health", timeout=10).status_code == 200


def _parts() -> Iterator[bytes]:
    for _ in range(300):
        yield b"x" * 1000


@pytest.mark.parametrize("body", [lambda: b"x" * 1001, _parts], ids=["known length", "chunked"])
@pytest.mark.parametrize("path", ["/test/topics/http", "/test/streams/s"])
def test_a_body_over_the_limit_is_413(url: str, path: str, body: Any) -> None:
    answer = requests.post(url + path, data=body(), headers=JSON_FORMAT, timeout=10)

    assert answer.status_code == 413
    assert answer.json() == {"error_code": 413, "message": "HTTP 413 Request Entity Too Large"}


def test_a_body_of_just_the_limit_is_read(url: str) -> None:
    body = json.dumps(RECORDS).encode().ljust(1000)

    answer = requests.post(f"{url}/topics/http", data=body, headers=JSON_FORMAT, timeout=10)
    assert answer.status_code == 200


class BrokenKafka:
    """A port with a programming error in it."""

    async def open(self) -> None:
        """Start."""

    async def close(self) -> None:
        """Stop."""

    async def knows(self, topic: str) -> bool:
        """Every topic."""
        return bool(topic)

    def fault(self) -> str | None:
        """None."""

    async def produce(self, topic: str, records: Sequence[KafkaRecord]) -> list[Outcome]:
        """Fail with the record in the message."""
        raise LookupError(topic, records)


def test_an_unexpected_error_is_500_and_shows_no_record_to_anyone() -> None:
    with capture_logs() as logs, running(BrokenKafka()) as url:
        body = {"records": [{"value": "a secret"}]}
        answer = requests.post(f"{url}/topics/t", json=body, headers=JSON_FORMAT, timeout=10)

    assert answer.status_code == 500
    assert answer.json() == {"error_code": 50002, "message": "Internal Server Error"}
    errors = [(log["event"], log["error"]) for log in logs if log["log_level"] == "error"]
    assert errors == [("unexpected_error", "LookupError")]
    assert "secret" not in str(logs)


def curl(*arguments: str) -> Any:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    command = [program, "--silent", "--show-error", "--max-time", "20", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.process
def test_curl_stores_a_record_by_the_kafka_route(mock_broker: Broker) -> None:
    topic = mock_broker.create_topic()
    with running(mock_broker.properties, served=[topic]) as url:
        answer = curl(
            "-X",
            "POST",
            f"{url}/test/topics/{topic}",
            "-H",
            "Content-Type: application/vnd.kafka.json.v2+json",
            "-d",
            '{"records":[{"value":{"index":1,"category":"art"}}]}',
        )

    assert answer["offsets"][0]["offset"] == 0
    assert read(mock_broker.bootstrap, topic, 1)[0].value == b'{"index":1,"category":"art"}'


@pytest.mark.process
def test_curl_stores_a_record_by_the_kinesis_route(mock_broker: Broker, aws: TestAws) -> None:
    stream = aws.stream(shards=1)
    kinesis = kinesis_client(aws.config)
    with running(mock_broker.properties, kinesis=kinesis) as url:
        answer = curl(
            "-X",
            "PUT",
            f"{url}/test/streams/{stream}/record",
            "-H",
            "Content-Type: application/json",
            "-d",
            f'{{"StreamName":"{stream}","Data":{{"ind":1}},"PartitionKey":"p-1"}}',
        )

    assert answer["ShardId"] == "shardId-000000000000"
    shard = kinesis.get_shard_iterator(
        StreamName=stream, ShardId=answer["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )
    (record,) = kinesis.get_records(ShardIterator=shard["ShardIterator"])["Records"]
    assert (record["Data"], record["PartitionKey"]) == (b'{"ind":1}', "p-1")


def config(bootstrap: str, port: int, **kafka: str) -> Config:
    own = {f"PINPIP_KAFKA__{name}": value for name, value in kafka.items()}
    return configfile.load(
        ROOT / "config.yaml",
        {
            "PINPIP_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            "PINPIP_AWS__ENDPOINT_URL": "http://127.0.0.1:9",
            "PINPIP_GATEWAY__PORT": str(port),
            **own,
        },
    )


def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(FatalError, match=f"listen on 127.0.0.1:{port}: Address already in use"):
            serve(config("127.0.0.1:9", port), lambda: None)


def test_a_bad_kafka_property_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="No such configuration property"):
        serve(config("127.0.0.1:9", free_port(), LINGER_MSEC="1"), lambda: None)


def test_the_topics_of_the_pipelines_are_served() -> None:
    assert served_topics(config("127.0.0.1:9", 0)) == {"demo.pin", "demo.geo", "demo.user"}


SERVE = """
import sys
from core.config import Config
from gateway.server import serve
serve(Config.model_validate_json(sys.stdin.read()), lambda: print("ready", flush=True))
print("ended", flush=True)
"""


@pytest.mark.process
def test_sigterm_lets_a_request_under_way_end_and_the_process_returns(mock_broker: Broker) -> None:
    port = free_port()
    slow = config(mock_broker.bootstrap, port, LINGER_MS="1000")
    body = b'{"records":[{"value":1}]}'
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(slow.model_dump_json(by_alias=True).encode())
        process.stdin.close()
        assert process.stdout.readline() == b"ready\n"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(
                b"POST /test/topics/demo.pin HTTP/1.1\r\nHost: localhost\r\n"
                b"Expect: 100-continue\r\n"
                b"Content-Type: application/vnd.kafka.json.v2+json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body)
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 100")  # the request is under way
            client.sendall(body)
            process.send_signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: client.recv(1000), b""))
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"error_code":null' in answer
        assert process.stdout.read().endswith(b"ended\n")
    assert process.returncode == 0
