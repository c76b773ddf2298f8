"""Content codings of a body: decoded within the limits, or refused."""

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from core.config import Gateway
from gateway.http.request_codec import STEP, unpacked
from tests.support.brokers import Broker
from tests.support.gateways import JSON_FORMAT, read, running

BODY = b'{"records":[{"value":1}]}'
LIMIT = 1000


def raw(data: bytes) -> bytes:
    """Compress as many clients do for deflate, without zlib's header."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw,
    "x-gzip": gzip.compress,
    "identity": bytes,
    "identity, gzip": gzip.compress,
}


@pytest.fixture(scope="module")
def url(mock_broker: Broker) -> Iterator[str]:
    settings = Gateway.model_validate({"max_body": LIMIT, "max_in_flight": 3 * LIMIT})
    with running(mock_broker.properties, served=["t"], settings=settings) as running_url:
        yield running_url


def post(url: str, body: bytes, coding: str, topic: str = "t") -> requests.Response:
    headers = JSON_FORMAT | {"Content-Encoding": coding}
    return requests.post(f"{url}/topics/{topic}", data=body, headers=headers, timeout=20)


@pytest.mark.parametrize("coding", PACK)
def test_a_coded_body_is_stored_without_its_coding(
    mock_broker: Broker, url: str, coding: str
) -> None:
    topic = mock_broker.create_topic()

    assert post(url, PACK[coding](BODY), coding, topic).status_code == 200
    assert [record.value for record in read(mock_broker.bootstrap, topic, 1)] == [b"1"]


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip, br", "compress", "*"])
def test_an_unknown_coding_is_415_and_told_which_are_taken(url: str, coding: str) -> None:
    answer = post(url, BODY, coding)

    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip, deflate")
    assert "gzip or deflate" in answer.json()["message"]


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", BODY),
        ("deflate", BODY),
        ("gzip", gzip.compress(BODY)[:-1]),
        ("gzip", gzip.compress(BODY)[:12]),
        ("gzip", gzip.compress(BODY) + b"x"),
        ("gzip", gzip.compress(BODY)[:-4] + b"\xff\xff\xff\xff"),
        ("deflate", zlib.compress(BODY)[:-2]),
        ("gzip", zlib.compress(BODY)),
        ("gzip", gzip.compress(b"") * 40),
    ],
    ids=["plain", "plain", "cut", "cut early", "more", "length", "cut", "another", "members"],
)
def test_a_body_without_the_coding_that_it_declares_is_400(
    url: str, coding: str, body: bytes
) -> None:
    answer = post(url, body, coding)

    assert answer.status_code == 400
    assert "data" in answer.json()["message"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "Deflate"])
def test_a_bomb_is_413(url: str, coding: str) -> None:
    bomb = PACK[coding](b" " * 200 * LIMIT)

    assert len(bomb) < LIMIT
    assert post(url, bomb, coding).status_code == 413


def test_a_coded_body_of_just_the_limit_is_read(url: str) -> None:
    assert post(url, gzip.compress(BODY.ljust(LIMIT)), "gzip").status_code == 200
    assert post(url, gzip.compress(BODY.ljust(LIMIT + 1)), "gzip").status_code == 413


def test_a_read_does_not_mind_a_coding_without_a_body(url: str) -> None:
    headers = {"Content-Encoding": "gzip"}
    assert requests.get(f"{url}/topics", headers=headers, timeout=20).status_code == 200


def test_nothing_is_unpacked_beyond_what_may_be_held() -> None:
    asked: list[int] = []

    def grow(size: int) -> None:
        asked.append(size)
        if size > 4 * STEP:
            raise HTTPException(413)

    with pytest.raises(HTTPException):
        unpacked(gzip.compress(bytes(100 * STEP)), "gzip", grow)
    assert asked == [n * STEP for n in range(1, 6)]


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_any_body_is_unpacked_or_400(body: bytes, coding: str) -> None:
    with suppress(HTTPException):
        unpacked(body or b"x", coding, lambda _: None)


@pytest.mark.parametrize("size", [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw])
def test_what_was_packed_is_unpacked(pack: Callable[[bytes], bytes], size: int) -> None:
    name = "gzip" if pack is gzip.compress else "deflate"
    for data in (os.urandom(size), bytes(size)):
        assert unpacked(pack(data), name, lambda _: None) == data
