"""A broker that does not know the group protocol that config.yaml asks for."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from consumers.kafka.protocol import refuse_old_broker, requests_of
from core.errors import SourceError
from tests.support.brokers import Broker

# The requests that Apache Kafka 3.3.2 takes of a client, and that 4.1.0 adds for groups.
OLD = [*range(4), *range(8, 39), *range(42, 52), 57, 60, 61, 64, 65, 66]
NEW = [*OLD, 68, 69]


def answer(keys: list[int], error: int = 0) -> bytes:
    """ApiVersionsResponse of version 0."""
    body = struct.pack(">ihi", 1, error, len(keys))
    body += b"".join(struct.pack(">hhh", key, 0, 1) for key in keys)
    return struct.pack(">i", len(body)) + body


@contextmanager
def broker_that_answers(said: bytes) -> Iterator[str]:
    """Serve one request with the response `said`, then close; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(ConnectionError):  # a client need not read to the end
                connection.recv(100)
                for start in range(0, len(said), 100):
                    connection.sendall(said[start : start + 100])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refuse(servers: str, protocol: str = "consumer", **more: str) -> None:
    refuse_old_broker({"bootstrap.servers": servers, "group.protocol": protocol, **more})


def test_a_broker_without_the_new_protocol_is_named_as_too_old() -> None:
    with (
        broker_that_answers(answer(OLD)) as address,
        pytest.raises(SourceError, match=f"{address} is too old") as refused,
    ):
        refuse(address)
    assert "4.0" in refused.value.hint


def test_a_broker_with_the_new_protocol_is_taken() -> None:
    with broker_that_answers(answer(NEW)) as address:
        refuse(address)


def test_the_classic_protocol_is_not_asked_about() -> None:
    refuse("127.0.0.1:1", "classic")


@pytest.mark.parametrize(
    "said", [b"", answer(OLD)[:50], answer(OLD, error=35), b"HTTP/1.1 400 Bad Request\r\n\r\n"]
)
def test_an_answer_that_tells_nothing_refuses_nothing(said: bytes) -> None:
    with broker_that_answers(said) as address:
        refuse(address)


def test_of_several_brokers_the_first_that_answers_tells() -> None:
    with broker_that_answers(answer(OLD)) as address, pytest.raises(SourceError, match=address):
        refuse(f"127.0.0.1:1, nonsense, PLAINTEXT://{address}")


def test_tls_that_is_not_trusted_refuses_nothing() -> None:
    with broker_that_answers(answer(OLD)) as address:
        refuse(address, **{"security.protocol": "SASL_SSL"})


@pytest.mark.real_broker
def test_a_real_broker_tells_its_requests(broker: Broker) -> None:
    assert requests_of(broker.bootstrap, {}) >= set(range(4))
