"""TLS at the gateway: handshakes that stall count as connections and end, others are served."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from core.config import Gateway
from core.errors import FatalError
from gateway.http.connection import RESERVE, RESERVE_TIMEOUT_S
from tests.support.brokers import Broker
from tests.support.certificates import Certificates, certificates
from tests.support.gateways import running
from tests.support.processes import until
from tests.support.wire import answer, connected, exchange

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
READY = HEALTH.replace(b"/health", b"/ready")
POST = (
    b"POST /topics/t HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n"
)
POST += b"Content-Type: application/vnd.kafka.json.v2+json\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # how a ClientHello begins
LIMIT = 3


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("tls"))


@contextmanager
def secured(
    pem: Certificates, broker: Broker, *, patience: float = 20.0, limit: int = LIMIT
) -> Iterator[str]:
    """Start a gateway over TLS; yield its URL."""
    tls = {"certificate": str(pem.server), "key": str(pem.server)}
    own = {"tls": tls, "request_timeout": patience, "max_connections": limit}
    with running(broker.properties, settings=Gateway.model_validate(own), served=["t"]) as url:
        yield url.replace("http://", "https://")


def trusting(pem: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pem.authority))


@contextmanager
def shaken(url: str, pem: Certificates) -> Iterator[socket.socket]:
    """Open a connection over TLS."""
    wrapped = trusting(pem).wrap_socket
    with connected(url) as client, wrapped(client, server_hostname="127.0.0.1") as secure:
        yield secure


def said(url: str, pem: Certificates, request: bytes) -> bytes:
    with shaken(url, pem) as client:
        client.sendall(request)
        return answer(client)


def has_ended(client: socket.socket) -> bool:
    """Whether the other side closed; what it said before is dropped."""
    client.setblocking(False)  # noqa: FBT003  # the name is the standard library's
    try:
        return client.recv(65536) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize("begun", [b"", HELLO], ids=["silent", "half"])
def test_a_handshake_that_stalls_ends_at_the_deadline(
    pem: Certificates, mock_broker: Broker, begun: bytes
) -> None:
    with secured(pem, mock_broker, patience=0.5) as url, connected(url) as client:
        client.sendall(begun)
        until(lambda: has_ended(client), "the handshake to end", 10)


def test_silent_handshakes_keep_nobody_out(pem: Certificates, mock_broker: Broker) -> None:
    with secured(pem, mock_broker) as url, ExitStack() as stack:
        silent = [stack.enter_context(connected(url)) for _ in range(3 * LIMIT)]
        until(lambda: sum(map(has_ended, silent[: 2 * LIMIT])) == 2 * LIMIT, "the first to leave")
        assert not any(map(has_ended, silent[2 * LIMIT :]))
        assert said(url, pem, HEALTH).startswith(b"HTTP/1.1 200")


def test_handshakes_beyond_the_limit_end_soon_and_do_not_keep_health_out(
    pem: Certificates, mock_broker: Broker
) -> None:
    with secured(pem, mock_broker) as url, ExitStack() as stack:
        for _ in range(LIMIT):
            busy = stack.enter_context(shaken(url, pem))
            busy.sendall(POST)
            assert busy.recv(100).startswith(b"HTTP/1.1 100")
        full = said(url, pem, READY)
        assert full.startswith(b"HTTP/1.1 503"), full
        began = time.monotonic()
        silent = [stack.enter_context(connected(url)) for _ in range(RESERVE + 5)]
        until(lambda: sum(map(has_ended, silent[:5])) == 5, "those beyond the reserve to leave")
        assert said(url, pem, HEALTH).startswith(b"HTTP/1.1 200")
        until(lambda: all(map(has_ended, silent)), "all of them to leave")
        assert time.monotonic() - began < 10 * RESERVE_TIMEOUT_S  # not request_timeout


def test_places_of_handshakes_that_failed_are_free_again(
    pem: Certificates, mock_broker: Broker
) -> None:
    with secured(pem, mock_broker, limit=1) as url:
        for begun in (b"", HELLO, HEALTH, b"\x15\x03\x01\x00\x02\x02\x28"):
            with connected(url) as client:
                client.sendall(begun)
        assert b"HTTP/1.1" not in exchange(url, HEALTH)  # what is no TLS gets no word
        for _ in range(3):
            assert said(url, pem, HEALTH).startswith(b"HTTP/1.1 200")


def test_a_request_in_the_same_segment_as_the_handshakes_end_is_served(
    pem: Certificates, mock_broker: Broker
) -> None:
    with secured(pem, mock_broker) as url, connected(url) as client:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting(pem).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.sendall(outgoing.read())
                incoming.write(client.recv(65536))
        tls.write(HEALTH)
        client.sendall(outgoing.read())
        said_back = b""
        while not said_back:
            incoming.write(client.recv(65536))
            with suppress(ssl.SSLWantReadError):
                said_back = tls.read()
        assert said_back.startswith(b"HTTP/1.1 200")


def test_the_gateway_ends_while_handshakes_stall(pem: Certificates, mock_broker: Broker) -> None:
    with ExitStack() as stack:
        with secured(pem, mock_broker) as url:
            silent = stack.enter_context(connected(url))
            assert said(url, pem, HEALTH).startswith(b"HTTP/1.1 200")
            began = time.monotonic()
        assert time.monotonic() - began < 15  # request_timeout is 20 s
        assert answer(silent) == b""


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_certificate_that_cannot_be_used_ends_the_start(
    mock_broker: Broker, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "own.pem"
    if text is not None:
        path.write_text(text)
    with (
        pytest.raises(FatalError, match="own") as told,
        secured(Certificates(path, path), mock_broker),
    ):
        pass
    assert "gateway.tls" in told.value.hint
