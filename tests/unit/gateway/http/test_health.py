"""What the gateway tells of itself: ready, metrics, access log; and its keys and drain."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from structlog.testing import capture_logs
from typer.testing import CliRunner

from core.config import Gateway
from core.web import hashed, new_key
from pinpip.cli import app
from tests.support.brokers import Broker
from tests.support.gateway_process import gateway_process
from tests.support.gateways import JSON_FORMAT, running
from tests.support.processes import kafka_home, until

RECORDS = {"records": [{"value": "a secret"}]}


@pytest.fixture(scope="module")
def url(mock_broker: Broker) -> Iterator[str]:
    with running(mock_broker.properties, served=["t"]) as running_url:
        yield running_url


def test_ready_says_that_the_broker_answers(url: str) -> None:
    answer = requests.get(f"{url}/ready", timeout=10)

    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


@pytest.mark.slow
def test_not_ready_says_why_and_when_to_come_back() -> None:
    with running({"bootstrap.servers": "127.0.0.1:9"}) as url:
        answer = requests.get(f"{url}/ready", timeout=20)
        alive = requests.get(f"{url}/health", timeout=20)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["status"] == "unready"
    assert "Kafka cannot be reached" in answer.json()["reason"]
    assert alive.status_code == 200


def test_metrics_count_requests_by_route_and_status(url: str) -> None:
    requests.post(f"{url}/test/topics/t", json=RECORDS, headers=JSON_FORMAT, timeout=10)
    requests.get(f"{url}/no/such/path", timeout=10)
    text = requests.get(f"{url}/metrics", timeout=10).text

    counted = 'pinpip_gateway_requests_total{method="POST",route="/topics/{topic}",status="200"}'
    assert counted in text
    assert 'pinpip_gateway_requests_total{method="any",route="none",status="404"}' in text
    assert 'pinpip_gateway_request_seconds_count{route="/topics/{topic}"}' in text
    assert "pinpip_gateway_in_flight_bytes 0.0" in text
    assert "\nprocess_start_time_seconds " in text


def test_the_access_log_has_no_bodies_queries_or_keys(mock_broker: Broker) -> None:
    key, digest = new_key()
    settings = Gateway(api_keys={"phone": digest})
    serving = running(mock_broker.properties, settings=settings, served=["t"])
    with serving as url, capture_logs() as logs:
        headers = JSON_FORMAT | {"x-api-key": key}
        requests.post(f"{url}/topics/t?token=hush", json=RECORDS, headers=headers, timeout=10)
        until(lambda: bool(logs), "the line of the request")

    assert {k: v for k, v in logs[0].items() if k not in {"ms", "log_level"}} == {
        "event": "request",
        "method": "POST",
        "path": "/topics/t",
        "status": 200,
        "bytes": 36,
        "client": "127.0.0.1",
        "caller": "phone",
    }


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/openapi.json"])
@pytest.mark.parametrize("stage", ["", "/test"])
def test_what_the_gateway_tells_of_itself_wants_no_key(
    mock_broker: Broker, stage: str, path: str
) -> None:
    settings = Gateway(api_keys={"phone": hashed(b"k")})
    with running(mock_broker.properties, settings=settings) as url:
        assert requests.get(url + stage + path, timeout=10).status_code == 200
        assert requests.get(f"{url}{stage}/topics", timeout=10).status_code == 403


def test_a_key_is_made_and_only_its_hash_is_for_the_configuration() -> None:
    said = CliRunner().invoke(app, ["config", "api-key", "phone-app"]).stdout.split()
    key, line = said[4], " ".join(said[-3:])

    assert hashed(key.encode()) in line
    assert '"phone-app"' in line
    assert key not in line


@pytest.mark.process
def test_the_access_log_is_json_lines_and_may_be_left_out(
    mock_broker: Broker, tmp_path: Path
) -> None:
    home = kafka_home(tmp_path, mock_broker, "t")
    with gateway_process(home) as gateway:
        answer = requests.post(
            f"{gateway.url}/topics/t", json=RECORDS, headers=JSON_FORMAT, timeout=10
        )
        assert answer.status_code == 200
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(20) == 0
    lines = (tmp_path / "gateway.log").read_text("utf-8").splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]

    assert [line["path"] for line in logged if line["method"] == "POST"] == ["/topics/t"]
    assert all(line["timestamp"].endswith("Z") for line in logged)


@pytest.mark.process
def test_a_draining_gateway_says_that_it_is_not_ready_and_still_serves(
    mock_broker: Broker, tmp_path: Path
) -> None:
    home = kafka_home(tmp_path, mock_broker, "t")
    with gateway_process(home, drain_wait=2.0) as gateway:
        gateway.process.send_signal(signal.SIGTERM)
        until(
            lambda: requests.get(f"{gateway.url}/ready", timeout=10).status_code == 503,
            "the gateway to drain",
        )
        answer = requests.get(f"{gateway.url}/ready", timeout=10)
        assert answer.json() == {"status": "unready", "reason": "draining"}
        path = f"{gateway.url}/topics/t"
        stored = requests.post(path, json=RECORDS, headers=JSON_FORMAT, timeout=10)
        assert stored.status_code == 200
        assert gateway.process.wait(20) == 0
