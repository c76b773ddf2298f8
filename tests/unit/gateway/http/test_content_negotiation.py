"""Which media type an answer has: the negotiation alone, and on every Kafka route.

`RESPONSE_TYPES` are what kafka-rest produces: 8.5.0 the first only (resources/v2, @Produces), 5.4
all three (Versions.java: KAFKA_V2_JSON, KAFKA_DEFAULT_JSON, JSON).
"""

from collections.abc import Iterator

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.request_codec import essence
from gateway.http.responses import accepted
from gateway.kafka.api import RESPONSE_TYPES, UNVERSIONED
from tests.support.brokers import Broker
from tests.support.gateways import JSON_FORMAT, running

V2, JSON = "application/vnd.kafka.v2+json", "application/json"
JAVA = "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("*/*", V2),
        ("application/*", V2),
        (JAVA, V2),
        (BROWSER, V2),
        (V2, V2),
        ("APPLICATION/VND.KAFKA.V2+JSON", V2),
        (JSON, JSON),
        (f"{JSON};charset=utf-8", JSON),
        (f"{JSON}, {V2}", V2),
        (f"{V2};q=0.4, {JSON};q=0.5", JSON),
        (f"{V2}, application/vnd.kafka+json; q=0.9, {JSON}; q=0.5", V2),
        (f"{JSON}, text/plain, */*", V2),
        (f"{V2};q=0, */*;q=0.1", UNVERSIONED),
        (f"{V2};q=0.2, application/*;q=0.1, */*;q=0.9", V2),
        ("text/plain", None),
        ("application/vnd.kafka.json.v2+json", None),
        (f"{JSON};q=0", None),
        (f"{V2};q=high", None),
        (f"{V2};q=nan", None),
        (f"{V2};q=2", None),
        ("text/*;q=1, image/*", None),
        (",;", None),
    ],
)
def test_the_type_that_the_caller_likes_best_is_taken(accept: str, answer: str | None) -> None:
    assert accepted(accept, RESPONSE_TYPES) == answer


@given(st.text())
def test_any_accept_ends_in_an_offer_or_none(accept: str) -> None:
    assert accepted(accept, RESPONSE_TYPES) in {*RESPONSE_TYPES, None}


@pytest.mark.parametrize(
    ("header", "bare"), [("Text/Plain", "text/plain"), (" a/b ; c=d;e", "a/b"), ("", "")]
)
def test_the_essence_is_the_type_without_parameters(header: str, bare: str) -> None:
    assert essence(header) == bare


@pytest.fixture(scope="module")
def url(mock_broker: Broker) -> Iterator[str]:
    with running(mock_broker.properties) as running_url:
        yield running_url


@pytest.fixture(scope="module")
def topic(mock_broker: Broker) -> str:
    return mock_broker.create_topic()


READS = ["/", "/brokers", "/topics", "/topics/{}", "/topics/{}/partitions"]
READS += ["/topics/{}/partitions/0", "/topics/{}/partitions/0/offsets"]


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("accept", RESPONSE_TYPES)
def test_every_read_answers_in_the_type_asked_for(
    url: str, topic: str, path: str, accept: str
) -> None:
    answer = requests.get(url + path.format(topic), headers={"Accept": accept}, timeout=30)

    assert (answer.status_code, answer.headers["content-type"]) == (200, accept)


@pytest.mark.parametrize("path", READS)
def test_every_read_is_406_for_what_nobody_can_serve(url: str, topic: str, path: str) -> None:
    answer = requests.get(url + path.format(topic), headers={"Accept": "text/plain"}, timeout=30)

    assert answer.status_code == 406
    assert answer.json() == {"error_code": 406, "message": "HTTP 406 Not Acceptable"}


@pytest.mark.parametrize("path", ["/topics/{}", "/topics/{}/partitions/0"])
def test_nothing_is_produced_for_an_answer_that_nobody_can_serve(
    mock_broker: Broker, url: str, path: str
) -> None:
    fresh = mock_broker.create_topic()
    headers = JSON_FORMAT | {"Accept": "text/plain"}
    body = {"records": [{"value": 1, "partition": 0}]}
    answer = requests.post(url + path.format(fresh), json=body, headers=headers, timeout=30)

    assert answer.status_code == 406
    offsets = requests.get(f"{url}/topics/{fresh}/partitions/0/offsets", timeout=30).json()
    assert offsets == {"beginning_offset": 0, "end_offset": 0}


def test_an_error_has_the_type_asked_for(url: str) -> None:
    answer = requests.get(f"{url}/topics/absent", headers={"Accept": JSON}, timeout=30)

    assert (answer.status_code, answer.headers["content-type"]) == (404, JSON)


def test_a_read_does_not_mind_a_content_type(url: str) -> None:
    headers = {"Content-Type": "application/json"}
    assert requests.get(f"{url}/topics", headers=headers, timeout=30).status_code == 200
