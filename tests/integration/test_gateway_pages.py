"""What a web page may do to a gateway: forms, foreign origins, DNS rebinding, CORS."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from pydantic import ValidationError

from core.config import Gateway
from core.web import hashed
from gateway.server import kinesis_client
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.gateways import JSON_FORMAT, running

RECORDS = {"records": [{"value": 1}]}
PAGE = "https://app.example"
KEYS = {"page": hashed(b"k")}
SIMPLE = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    None,
]
"""The types of a body that a page may send without a preflight (Fetch, CORS-safelisted)."""


@pytest.fixture(scope="module")
def url(mock_broker: Broker, aws: TestAws) -> Iterator[str]:
    kinesis = kinesis_client(aws.config)
    with running(mock_broker.properties, served=["t"], kinesis=kinesis) as running_url:
        yield running_url


@pytest.fixture(scope="module")
def open_url(mock_broker: Broker) -> Iterator[str]:
    settings = Gateway.model_validate(
        {"cors_origins": [PAGE], "hosts": ["gw.example", "*.svc.example"], "api_keys": KEYS}
    )
    with running(mock_broker.properties, served=["t"], settings=settings) as running_url:
        yield running_url


def post(url: str, **headers: str) -> requests.Response:
    return requests.post(f"{url}/topics/t", json=RECORDS, headers=JSON_FORMAT | headers, timeout=10)


@pytest.mark.parametrize("media", SIMPLE)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/topics/t", b'{"records":[{"value":"YQ=="}]}'),
        ("POST", "/topics/t/partitions/0", b'{"records":[{"value":"YQ=="}]}'),
        ("POST", "/streams/made-by-a-page", b'{"ShardCount":1}'),
        ("PUT", "/streams/s/record", b'{"Data":1,"PartitionKey":"k"}'),
        ("PUT", "/streams/s/records", b'{"records":[{"data":1,"partition-key":"k"}]}'),
    ],
)
def test_a_body_of_a_type_that_a_form_could_send_is_415_which_names_what_is_taken(
    url: str, method: str, path: str, body: bytes, media: str | None
) -> None:
    answer = requests.request(method, url + path, data=body, headers=typed(media), timeout=10)

    assert answer.status_code == 415
    assert "application/" in answer.json()["message"]
    assert "made-by-a-page" not in requests.get(f"{url}/streams", timeout=10).json()["StreamNames"]


def typed(media: str | None) -> Any:
    return {"Content-Type": media}


@pytest.mark.parametrize("media", ["application/json", "application/x-amz-json-1.1"])
def test_kinesiss_routes_take_json_and_kinesiss_own_type(url: str, media: str) -> None:
    body = b'{"Data":1,"PartitionKey":"k"}'
    answer = requests.put(
        f"{url}/streams/absent/record", data=body, headers={"Content-Type": media}, timeout=10
    )

    assert answer.status_code == 404


@pytest.mark.parametrize("origin", [PAGE, "null", "http://127.0.0.1:1", "file://", ""])
@pytest.mark.parametrize("path", ["/topics", "/nowhere", "/streams"])
def test_a_foreign_origin_is_forbidden(url: str, path: str, origin: str) -> None:
    answer = requests.get(url + path, headers={"Origin": origin}, timeout=10)

    assert answer.status_code == 403
    assert "gateway.cors_origins" in answer.json()["message"]
    assert "access-control-allow-origin" not in answer.headers


def test_a_preflight_of_a_foreign_origin_is_forbidden(url: str, open_url: str) -> None:
    asked = {"Origin": "https://other.example", "Access-Control-Request-Method": "POST"}

    assert requests.options(f"{url}/topics/t", headers=asked, timeout=10).status_code == 403
    assert requests.options(f"{open_url}/topics/t", headers=asked, timeout=10).status_code == 403


def test_the_gateways_own_origin_is_taken(url: str) -> None:
    assert post(url, Origin=url).status_code == 200
    assert post(url, Origin="http://localhost", Host="localhost:80").status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("evil.example:8082", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("[evil]", 400),
        ("localhost", 200),
        ("LOCALHOST.:8082", 200),
        ("app.localhost", 200),
        ("127.0.0.1:1", 200),
        ("10.1.2.3:8082", 200),
        ("[::1]:8082", 200),
    ],
)
def test_without_keys_a_request_names_a_host_of_the_gateway(
    url: str, host: str, status: int
) -> None:
    answer = post(url, Host=host)

    assert answer.status_code == status
    assert status != 403 or "gateway.hosts" in answer.json()["message"]


def test_a_rebound_name_is_refused_though_it_is_of_the_same_origin(url: str) -> None:
    answer = post(url, Host="evil.example:8082", Origin="http://evil.example:8082")

    assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/openapi.json"])
def test_probes_may_use_any_name(url: str, path: str) -> None:
    headers = {"Host": "balancer.example", "Origin": PAGE}
    assert requests.get(url + path, headers=headers, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("gw.example", 200),
        ("a.svc.example:80", 200),
        ("svc.example", 403),
        ("evil.example", 403),
    ],
)
def test_hosts_are_checked_with_keys_too_when_they_are_given(
    open_url: str, host: str, status: int
) -> None:
    assert post(open_url, Host=host, **{"x-api-key": "k"}).status_code == status


def test_with_keys_and_without_hosts_every_name_is_taken(mock_broker: Broker) -> None:
    settings = Gateway.model_validate({"api_keys": KEYS})
    with running(mock_broker.properties, served=["t"], settings=settings) as url:
        assert post(url, Host="any.example", **{"x-api-key": "k"}).status_code == 200


def test_a_page_that_is_allowed_may_ask_send_and_read(open_url: str) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,idempotency-key,x-api-key",
        "Access-Control-Request-Private-Network": "true",
    }
    preflight = requests.options(f"{open_url}/test/topics/t", headers=asked, timeout=10)
    sent = post(open_url, Origin=PAGE, **{"x-api-key": "k", "Idempotency-Key": "page-1"})

    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-private-network"] == "true"
    assert sent.status_code == 200
    assert sent.headers["access-control-allow-origin"] == PAGE
    assert "Idempotency-Scope" in sent.headers["access-control-expose-headers"]
    assert "Origin" in sent.headers["vary"]


def test_a_page_that_is_allowed_can_read_why_it_was_refused(open_url: str) -> None:
    refused = post(open_url, Origin=PAGE)

    assert refused.status_code == 403
    assert refused.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("cors_origins", "https://app.example/"),
        ("cors_origins", "app.example"),
        ("cors_origins", "https://App.example"),
        ("hosts", "http://gw.example"),
        ("hosts", "gw.example:8082"),
        ("hosts", "gw.*"),
    ],
)
def test_what_no_browser_sends_is_refused_as_a_setting(name: str, wrong: str) -> None:
    with pytest.raises(ValidationError):
        Gateway.model_validate({name: [wrong]})
