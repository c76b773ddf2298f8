"""Heads that change how a body is framed, on a real socket: what is stored, and what is refused."""

import json
import re
import socket
import time
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from core.config import Gateway
from tests.support.brokers import Broker
from tests.support.gateways import read, running
from tests.support.processes import until
from tests.support.slow_kafka import SlowKafka
from tests.support.wire import answer, connected, exchange

BODY = b'{"records":[{"value":1}]}'
SMUGGLED = b"POST /test/topics/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def url(mock_broker: Broker) -> Iterator[str]:
    with running(mock_broker.properties, served=["t"]) as running_url:
        yield running_url


def head(topic: str, *lines: bytes, first: bytes = b"POST /topics/%b HTTP/1.1") -> bytes:
    line = first % topic.encode() if b"%b" in first else first
    lines = (b"Content-Type: application/vnd.kafka.json.v2+json", *lines)
    return b"\r\n".join([line, b"Host: localhost", *lines, b"", b""])


def statuses(said: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 (\d+) ", said)


@pytest.mark.parametrize("protocol", [b"h2c", b"TLS/1.2", b"websocket", b"HTTP/2.0, h2c"])
@pytest.mark.parametrize("apart", [False, True], ids=["one segment", "body apart"])
def test_an_upgrade_that_is_not_offered_leaves_the_body_with_its_request(
    mock_broker: Broker, url: str, protocol: bytes, *, apart: bool
) -> None:
    topic = mock_broker.create_topic()
    offer = [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol]
    length = b"Content-Length: %d" % len(BODY)
    with connected(url) as client:
        if apart:
            client.sendall(head(topic, *offer, length))
            client.sendall(BODY)
        else:
            client.sendall(head(topic, *offer, length) + BODY)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")

    assert [record.value for record in read(mock_broker.bootstrap, topic, 1)] == [b"1"]


def test_a_request_in_the_body_of_an_upgrade_is_its_body(url: str) -> None:
    offer = [b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(SMUGGLED)]
    with connected(url) as client:
        client.sendall(head("t", *offer))
        client.sendall(SMUGGLED)
        client.shutdown(socket.SHUT_WR)
        said = answer(client)

    assert statuses(said) == [b"400"]
    assert b"Malformed JSON" in said


@pytest.mark.slow
def test_thousands_of_pipelined_upgrades_are_each_answered(url: str) -> None:
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    with connected(url) as client:
        client.sendall(one * 2000 + one.replace(b"upgrade", b"close", 1))
        said = answer(client)

    assert statuses(said) == [b"200"] * 2001


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"Content-Length: 3", b"Content-Length: 3"], b"400"),
        ([b"Content-Length: 3, 3"], b"400"),
        ([b"Content-Length: 3", CHUNKED], b"400"),
        ([CHUNKED, b"Content-Length: 3"], b"400"),
        ([b"X: a\r\n folded"], b"400"),
        ([b"X: a\nY: b"], b"400"),
        ([b"Content-Length : 3"], b"400"),
        ([b"Transfer-Encoding: gzip, chunked"], b"501"),
        ([b"Transfer-Encoding: chunked, gzip"], b"400"),
        ([b"Transfer-Encoding: gzip"], b"501"),
        ([b"Transfer-Encoding: xchunked"], b"501"),
        ([b"Transfer-Encoding: identity"], b"501"),
        ([b"Transfer-Encoding: gzip", CHUNKED], b"501"),
        ([b"Host: g"], b"400"),
        ([b"Content-Type: text/plain"], b"400"),
        ([b"Origin: http://a", b"Origin: http://b"], b"400"),
        ([b"Idempotency-Key: a", b"Idempotency-Key: b"], b"400"),
    ],
)
def test_a_head_that_two_servers_could_read_differently_is_refused(
    url: str, lines: list[bytes], status: bytes
) -> None:
    said = exchange(url, head("t", *lines) + BODY)

    assert statuses(said) == [status]
    assert b"connection: close\r\n" in said


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"CONNECT x:80 HTTP/1.1", b"400"),
        (b"GET http://a:99999/health HTTP/1.1", b"400"),
        (b"GET http://[::1/health HTTP/1.1", b"400"),
        (b"GET http:///health HTTP/1.1", b"400"),
        (b"GET http://u@g/health HTTP/1.1", b"400"),
        (b"GET ftp://g/health HTTP/1.1", b"400"),
        (b"GET x:80 HTTP/1.1", b"400"),
        (b"GET * HTTP/1.1", b"400"),
        (b"GET /health#x HTTP/1.1", b"400"),
        (b"GET /health HTTP/2.0", b"505"),
        (b"GET /health HTTP/0.9", b"505"),
        (b"GET /health", b"505"),
    ],
)
@pytest.mark.parametrize("before", [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_a_bad_request_line_gets_one_answer_and_no_log(
    url: str, first: bytes, status: bytes, before: bytes
) -> None:
    with capture_logs() as logs:
        said = exchange(url, before + first + b"\r\nHost: localhost\r\n\r\n")

    assert statuses(said) == ([b"200"] if before else []) + [status]
    assert json.loads(said.rpartition(b"\r\n\r\n")[2])["error_code"] == int(status)
    assert len(logs) == (1 if before else 0)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"http://localhost", "/"),
        (b"HTTP://localhost:80/health?x=y", "/health"),
        (b"http://localhost?x=/health", "/"),
    ],
)
def test_an_absolute_target_is_its_path(url: str, target: bytes, path: str) -> None:
    with capture_logs() as logs:
        said = exchange(
            url, b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        until(lambda: bool(logs), "the line of the request")

    assert statuses(said) == [b"200"]
    assert [line["path"] for line in logs] == [path]


def test_the_host_of_an_absolute_target_counts_not_the_header(url: str) -> None:
    rest = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    said = exchange(url, b"GET http://evil.example/topics" + rest)

    assert statuses(said) == [b"403"]


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        (b"1.1", b"", b"400"),
        (b"1.0", b"", b"200"),
        (b"1.1", b"Host: localhost\r\nhost: g\r\n", b"400"),
        (b"1.0", b"Host: localhost\r\nHost: h\r\n", b"400"),
        (b"1.1", b"Host: g, h\r\n", b"400"),
        (b"1.1", b"Host: http://g\r\n", b"400"),
        (b"1.1", b"Host: g:99999\r\n", b"400"),
        (b"1.1", b"Host: \t [::1]:8082 \t\r\n", b"200"),
    ],
)
def test_a_request_has_one_well_formed_host(
    url: str, version: bytes, hosts: bytes, status: bytes
) -> None:
    said = exchange(url, b"GET /health HTTP/%b\r\n%bConnection: close\r\n\r\n" % (version, hosts))

    assert statuses(said) == [status]


def test_http_1_0_is_not_told_to_continue(url: str) -> None:
    lines = [b"Expect: 100-continue", b"Content-Length: %d" % len(BODY)]
    said = exchange(url, head("t", *lines, first=b"POST /topics/%b HTTP/1.0") + BODY)

    assert statuses(said) == [b"200"]


@pytest.mark.parametrize("path", ["t", "t/nowhere"], ids=["too large", "refused"])
def test_a_refused_expectation_ends_the_connection(url: str, path: str) -> None:
    lines = [b"Expect: 100-continue ", b"Content-Length: %d" % (20 * 1024 * 1024)]
    with connected(url) as client:
        client.sendall(head(path, *lines))
        said = answer(client)

    assert statuses(said) in ([b"413"], [b"404"])
    assert b"connection: close\r\n" in said


def test_a_met_expectation_keeps_the_connection(url: str) -> None:
    lines = [b"Expect: 100-continue", b"Content-Length: %d" % len(BODY)]
    with connected(url) as client:
        for _ in range(2):
            client.sendall(head("t", *lines))
            assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(BODY)
            assert statuses(client.recv(65536)) == [b"200"]


def test_requests_before_a_bad_one_get_their_answers_first() -> None:
    kafka = SlowKafka()
    good = head("t", b"Content-Length: %d" % len(BODY)) + BODY
    with running(kafka) as url, connected(url) as client:
        client.sendall(good + good + head("t", CHUNKED) + b"zz\r\n")
        assert kafka.asked.wait(10)
        kafka.go.set()
        said = answer(client)

    assert statuses(said) == [b"200", b"200", b"400"]
    assert kafka.calls == 2


@pytest.mark.slow
def test_empty_lines_do_not_keep_a_connection_for_ever(mock_broker: Broker) -> None:
    hasty = Gateway(request_timeout=0.5)
    with running(mock_broker.properties, settings=hasty) as url, connected(url) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        client.sendall(b"\r\n")
        assert statuses(answer(client)) in ([], [b"408"])

    assert time.monotonic() - began < 10
