"""What happens at the limits: bytes under way, unfinished bodies, connections, idle time."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import requests

from core.config import Gateway
from gateway.http.connection import RESERVE, RESERVE_TIMEOUT_S, ConnectionLimit
from gateway.http.endpoint import InFlight
from tests.support.brokers import Broker
from tests.support.gateways import JSON_FORMAT, running
from tests.support.processes import until
from tests.support.slow_kafka import SlowKafka
from tests.support.wire import answer, connected, exchange

MIB = 1024 * 1024
BODY = b'{"records":[{"value":10}]}'
FULL = Gateway(max_connections=3)
HEALTH = b"GET /test/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
READY = HEALTH.replace(b"/test/health", b"/ready")


def announced(size: int) -> bytes:
    """Make the head of a request whose body has `size` bytes."""
    return (
        b"POST /topics/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
        b"Content-Type: application/vnd.kafka.json.v2+json\r\n\r\n" % size
    )


@contextmanager
def beginning(url: str) -> Iterator[socket.socket]:
    """Open a connection and send only the beginning of a request."""
    with connected(url) as client:
        client.sendall(HEALTH[:1])
        yield client


def post(url: str, body: bytes = BODY) -> requests.Response:
    return requests.post(f"{url}/topics/t", data=body, headers=JSON_FORMAT, timeout=20)


def gauge(url: str, name: str) -> float:
    text = requests.get(f"{url}/metrics", timeout=10).text
    lines = [line.split() for line in text.splitlines()]
    return next(float(line[1]) for line in lines if line[0] == f"pinpip_gateway_{name}")


@pytest.mark.slow
def test_bodies_that_are_announced_and_never_sent_cost_nobody_anything(
    mock_broker: Broker,
) -> None:
    with running(mock_broker.properties, served=["t"]) as url, ExitStack() as stack:
        for size in [10 * MIB] * 6 + [4 * MIB]:
            stack.enter_context(connected(url)).sendall(announced(size))
        until(lambda: gauge(url, "in_flight_bytes") == 0, "the requests to be read")

        assert post(url, BODY.ljust(5 * MIB)).status_code == 200


def test_unfinished_bodies_leave_room_for_whole_ones(mock_broker: Broker) -> None:
    settings = Gateway.model_validate({"max_body": 1000, "max_in_flight": 3000})
    serving = running(mock_broker.properties, served=["t"], settings=settings)
    with serving as url, connected(url) as slow, connected(url) as slower:
        slow.sendall(announced(1000) + b"{" * 900)
        until(lambda: gauge(url, "unfinished_bytes") == 900, "the first body")
        slower.sendall(announced(1000) + b"{" * 900)
        refused = slower.recv(65536)
        whole = post(url, BODY.ljust(1000))
        slow.sendall(b" " * 100)

        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"at most 1500 bytes of unfinished bodies (gateway.max_in_flight)" in refused
        assert whole.status_code == 200
        assert slow.recv(65536).startswith(b"HTTP/1.1 400 ")
        assert gauge(url, "unfinished_bytes") == gauge(url, "in_flight_bytes") == 0


def test_a_client_that_goes_away_gives_back_what_it_held(mock_broker: Broker) -> None:
    with running(mock_broker.properties, served=["t"]) as url:
        with connected(url) as client:
            client.sendall(announced(1000) + b"{" * 900)
            until(lambda: gauge(url, "unfinished_bytes") == 900, "the body")
        until(lambda: gauge(url, "unfinished_bytes") == 0, "the client to be forgotten")
        assert gauge(url, "in_flight_bytes") == 0


def test_a_refused_share_holds_what_it_held() -> None:
    whole = InFlight(100, 50)
    with whole.share() as share:
        share.grow(40, more=True)
        with pytest.raises(Exception, match="503"):
            share.grow(60, more=True)
        assert (whole.used, whole.unfinished) == (40, 40)
        share.grow(60)
        assert (whole.used, whole.unfinished) == (60, 0)
        share.grow(30)
    assert (whole.used, whole.unfinished) == (0, 0)


def test_bytes_beyond_what_may_be_under_way_are_503() -> None:
    kafka = SlowKafka()
    settings = Gateway.model_validate({"max_body": 1000, "max_in_flight": 1500})
    body = b'{"records":[{"value":10}]}'.ljust(1000)
    with running(kafka, settings=settings) as url:
        answers: list[Any] = []

        def send() -> None:
            answers.append(
                requests.post(f"{url}/topics/t", data=body, headers=JSON_FORMAT, timeout=20)
            )

        first = threading.Thread(target=send)
        first.start()
        assert kafka.asked.wait(10)
        refused = requests.post(f"{url}/topics/t", data=body, headers=JSON_FORMAT, timeout=20)
        kafka.go.set()
        first.join()
        again = requests.post(f"{url}/topics/t", data=body, headers=JSON_FORMAT, timeout=20)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "at most 1500 bytes under way (gateway.max_in_flight)" in refused.json()["message"]
    assert [answers[0].status_code, again.status_code] == [200, 200]


def test_at_the_limit_of_connections_only_health_is_answered(mock_broker: Broker) -> None:
    with running(mock_broker.properties, settings=FULL) as url, ExitStack() as stack:
        slow = [stack.enter_context(beginning(url)) for _ in range(FULL.max_connections)]
        alive, ready = exchange(url, HEALTH), exchange(url, READY)
        metrics = exchange(url, HEALTH.replace(b"/test/health", b"/metrics/?x=y"))
        slow[0].sendall(READY[1:])

        assert alive.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nconnection: close\r\n" in alive
        assert metrics.startswith(b"HTTP/1.1 200 ")
        assert ready.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in ready
        assert b"at most 3 connections (gateway.max_connections)" in ready
        assert slow[0].recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_silent_connections_beyond_the_limit_end_soon_and_do_not_keep_health_out(
    mock_broker: Broker,
) -> None:
    with running(mock_broker.properties, settings=FULL) as url, ExitStack() as stack:
        first = [stack.enter_context(beginning(url)) for _ in range(FULL.max_connections)]
        beyond = [stack.enter_context(connected(url)) for _ in range(3 * RESERVE)]
        slow = stack.enter_context(connected(url))
        slow.sendall(HEALTH[:-2] + b"Content-Length: 9\r\n\r\n")
        began = time.monotonic()
        alive = exchange(url, HEALTH)
        ends = [answer(client) for client in (*beyond, slow)]

        assert alive.startswith(b"HTTP/1.1 200 ")
        assert {end[:13] for end in ends} == {b"HTTP/1.1 503 "}
        assert time.monotonic() - began < RESERVE_TIMEOUT_S + 8
        first[0].sendall(HEALTH[1:])
        assert first[0].recv(65536).startswith(b"HTTP/1.1 200 ")


def test_connections_that_send_nothing_give_their_places_to_those_that_do(
    mock_broker: Broker,
) -> None:
    with running(mock_broker.properties, settings=FULL, served=["t"]) as url, ExitStack() as stack:
        silent = [stack.enter_context(connected(url)) for _ in range(3 * FULL.max_connections)]

        assert post(url).status_code == 200
        assert answer(silent[0]) == b""


def test_an_idle_connection_gives_its_place_to_a_new_one(mock_broker: Broker) -> None:
    with running(mock_broker.properties, settings=FULL, served=["t"]) as url, ExitStack() as stack:
        idle = [stack.enter_context(connected(url)) for _ in range(FULL.max_connections)]
        for client in idle:
            client.sendall(HEALTH)
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")

        assert post(url).status_code == 200
        assert answer(idle[0]) == b""
        idle[2].sendall(HEALTH)
        assert idle[2].recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_request_under_way_keeps_its_place() -> None:
    kafka, settings = SlowKafka(), Gateway(max_connections=1)
    with running(kafka, settings=settings) as url, connected(url) as client:
        client.sendall(announced(len(BODY)) + BODY)
        assert kafka.asked.wait(10)
        assert exchange(url, READY).startswith(b"HTTP/1.1 503 ")
        kafka.go.set()

        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


class FakeConnection:
    """A connection that notes its end."""

    end = ""

    def close_idle(self) -> None:
        self.end = "left"

    def refuse(self) -> None:
        self.end = "refused"


def test_places_end_the_longest_idle_first_and_then_the_longest_silent() -> None:
    limit, idle = ConnectionLimit(2), [FakeConnection(), FakeConnection()]
    for guest in idle:
        limit.set_idle(guest)
    limit.set_busy(idle[0])
    limit.set_idle(idle[0])

    assert limit.admits(FakeConnection(), 2)
    assert limit.admits(FakeConnection(), 3)
    assert [guest.end for guest in idle] == ["", "left"]
    assert limit.admits(FakeConnection(), 3)
    beyond = [FakeConnection() for _ in range(RESERVE + 2)]
    assert not any(limit.admits(guest, 3 + n) for n, guest in enumerate(beyond))
    assert [guest.end for guest in beyond] == ["refused"] * 2 + [""] * RESERVE


@pytest.mark.parametrize(("seconds", "alive"), [(0.3, False), (75.0, True)])
@pytest.mark.slow
def test_an_idle_connection_is_kept_as_long_as_the_settings_say(
    mock_broker: Broker, seconds: float, *, alive: bool
) -> None:
    settings = Gateway(keep_alive=seconds)
    with running(mock_broker.properties, settings=settings) as url, connected(url) as client:
        client.sendall(HEALTH)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.settimeout(10 if not alive else 1)
        try:
            kept = client.recv(1) != b""
        except TimeoutError:
            kept = True

    assert kept == alive


def test_an_idle_connection_outlives_a_load_balancers_by_default() -> None:
    assert Gateway().keep_alive > 60
