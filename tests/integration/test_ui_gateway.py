"""The page of `pinpip ui` has the gateway's counters while it responds, else none."""

from pathlib import Path

import pytest
import requests

from pinpip.local.java import free_port
from pinpip.ui.gateway import gateway_look, parsed
from tests.support.brokers import Broker
from tests.support.commands import change
from tests.support.gateway_process import gateway_process
from tests.support.processes import Home, kafka_home


@pytest.fixture
def home(tmp_path: Path, mock_broker: Broker) -> Home:
    return kafka_home(tmp_path, mock_broker, mock_broker.create_topic())


@pytest.mark.process
def test_requests_are_counted_by_status(home: Home) -> None:
    with gateway_process(home) as gateway:
        change(home, "producer/gateway_url", f"{gateway.url}/test")
        for path in ("/health", "/health", "/nothing"):
            requests.get(f"{gateway.url}{path}", timeout=10)
        view = gateway_look(home.config)
        assert view is not None
        assert view.url == gateway.url
        assert view.statuses["404"] == 1
        assert view.requests == sum(view.statuses.values()) >= 3
        assert (view.received_bytes, view.in_flight_bytes) == (0, 0)


def test_a_gateway_that_is_not_there_is_absent(home: Home) -> None:
    change(home, "producer/gateway_url", f"http://127.0.0.1:{free_port()}/test")
    assert gateway_look(home.config) is None


def test_metrics_of_another_program_are_no_gateways() -> None:
    assert parsed("http://x", "# TYPE up gauge\nup 1\n") is None
