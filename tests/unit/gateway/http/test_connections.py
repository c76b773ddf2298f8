"""What a connection may cost: time, bytes, places; and what it gets when it wants more."""

import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from core.config import Gateway
from gateway.http.connection import MAX_HEAD
from tests.support.brokers import Broker
from tests.support.gateways import JSON_FORMAT, running
from tests.support.slow_kafka import SlowKafka
from tests.support.wire import answer, connected, exchange

REQUEST = (
    b"POST /topics/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 25\r\n"
    b"Content-Type: application/vnd.kafka.json.v2+json\r\n\r\n"
)
BODY = b'{"records":[{"value":10}]}'[:25]
HASTY = Gateway(request_timeout=0.5, max_connections=5)


@pytest.fixture(scope="module")
def url(mock_broker: Broker) -> Iterator[str]:
    with running(mock_broker.properties, settings=HASTY, served=["t"]) as running_url:
        yield running_url


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"POST /topics/t HTTP/1.1\r\nHost: localhost\r\n"],
        [REQUEST, b'{"records"'],
        [REQUEST.replace(b"Content-Length: 25", b"Transfer-Encoding: chunked"), b"5\r\n{"],
    ],
    ids=["nothing", "half a head", "half a body", "half a chunk"],
)
@pytest.mark.slow
def test_a_request_that_does_not_arrive_in_time_is_408_and_cut_off(
    url: str, parts: list[bytes]
) -> None:
    said = exchange(url, *parts)

    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert said.endswith(b'{"error_code":408,"message":"HTTP 408 Request Timeout"}')


def trickle(client: socket.socket) -> None:
    while True:
        client.sendall(b"X-A: b\r\n")
        time.sleep(0.02)  # the client's own pace


def test_a_client_that_trickles_is_cut_off_all_the_same(url: str) -> None:
    with connected(url) as client:
        client.sendall(b"POST /topics/t HTTP/1.1\r\n")
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            trickle(client)


@pytest.mark.slow
def test_a_connection_serves_request_after_request_beyond_the_time_for_one(url: str) -> None:
    with requests.Session() as session:
        began = time.monotonic()
        while time.monotonic() < began + 1.2:
            assert session.get(f"{url}/health", timeout=10).ok


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * (MAX_HEAD + 100),
        b"GET /" + b"x" * (MAX_HEAD + 100),
        b"GET /health HTTP/1.1\r\n" + b"X-Many: y\r\n" * (MAX_HEAD // 11 + 10),
    ],
    ids=["a header", "a path", "headers"],
)
def test_a_head_that_is_too_long_is_431(url: str, head: bytes) -> None:
    assert exchange(url, head).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "tail",
    [b"0\r\nX-Trailer: " + b"x" * (2 * MAX_HEAD), b"1;" + b"x" * (2 * MAX_HEAD)],
    ids=["trailers", "chunk extensions"],
)
def test_chunked_bodies_have_no_room_for_more_than_the_body(url: str, tail: bytes) -> None:
    head = REQUEST.replace(b"Content-Length: 25", b"Transfer-Encoding: chunked")
    said = exchange(url, head, tail)

    assert said.split(b" ")[1:2] in ([b"431"], [b"400"])


def test_a_body_in_chunks_of_one_byte_is_read(url: str) -> None:
    body = b'{"records":[{"value":"%b"}]}' % (b"x" * 30_000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    head = REQUEST.replace(b"Content-Length: 25", b"Transfer-Encoding: chunked")
    with connected(url) as client:
        client.sendall(head + chunks + b"0\r\n\r\n")

        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_trailer_is_no_header(url: str) -> None:
    head = REQUEST.replace(b"Content-Length: 25", b"Transfer-Encoding: chunked")
    tail = b"0\r\nContent-Type: text/plain\r\nIdempotency-Key: k\r\n\r\n"
    with connected(url) as client:
        client.sendall(head + b"19\r\n" + BODY + b"\r\n" + tail)
        said = client.recv(65536)

    assert b"HTTP/1.1 400 " in said  # the body is cut short: what matters is that it was JSON's
    assert b"idempotency" not in said.lower()


@pytest.mark.parametrize(
    "junk",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET\x01 / HTTP/1.1\r\n\r\n", b"\r\n\r\nx\r\n"],
    ids=["TLS", "no method", "no request"],
)
def test_what_is_no_http_is_400_as_json(url: str, junk: bytes) -> None:
    said = exchange(url, junk)

    assert said.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n")


def test_a_request_behind_one_that_is_served_costs_it_nothing() -> None:
    kafka = SlowKafka()
    with running(kafka) as url, connected(url) as client:
        client.sendall(REQUEST.replace(b"25", b"26") + b'{"records":[{"value":10}]}')
        assert kafka.asked.wait(10)
        client.sendall(b"\x00 no request\r\n\r\n")
        kafka.go.set()
        said = answer(client)

    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.count(b"HTTP/1.1 400 Bad Request\r\n") == said.count(b"HTTP/1.1") - 1 == 1


def test_a_client_that_sends_no_more_still_gets_its_answer() -> None:
    kafka = SlowKafka()
    with running(kafka) as url, connected(url) as client:
        client.sendall(REQUEST.replace(b"25", b"26") + b'{"records":[{"value":10}]}')
        client.shutdown(socket.SHUT_WR)
        assert kafka.asked.wait(10)
        kafka.go.set()

        assert answer(client).startswith(b"HTTP/1.1 200 ")


def test_half_a_request_whose_client_sends_no_more_is_400(url: str) -> None:
    with connected(url) as client:
        client.sendall(REQUEST + b'{"records"')
        client.shutdown(socket.SHUT_WR)

        assert answer(client).startswith(b"HTTP/1.1 400 ")


@pytest.mark.slow
def test_records_beyond_the_limit_are_413(mock_broker: Broker) -> None:
    settings = Gateway(max_records=2)
    with running(mock_broker.properties, settings=settings, served=["t"]) as url:
        kafka, kinesis = {"records": [{"value": 1}] * 3}, [{"data": 1, "partition-key": "k"}] * 3
        many = requests.post(f"{url}/topics/t", json=kafka, headers=JSON_FORMAT, timeout=20)
        put = requests.put(f"{url}/streams/s/records", json={"records": kinesis}, timeout=20)

    assert (many.status_code, put.status_code) == (413, 413)


@pytest.mark.process
def test_the_gateway_speaks_tls(mock_broker: Broker, tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    command = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    made = ["openssl", *command.split(), *names, *files]
    subprocess.run(made, check=True, capture_output=True)
    tls = {"certificate": str(certificate), "key": str(key)}
    settings = Gateway.model_validate({"tls": tls})
    with running(mock_broker.properties, settings=settings, served=["t"]) as url:
        secure = url.replace("http://", "https://")
        answer = requests.post(
            f"{secure}/topics/t",
            json={"records": [{"value": 1}]},
            headers=JSON_FORMAT,
            timeout=20,
            verify=str(certificate),
        )
        assert answer.status_code == 200
        said = exchange(url, REQUEST)
        assert b"HTTP/1.1" not in said  # what is no TLS gets no word
