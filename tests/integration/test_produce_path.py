"""How many files of the project one HTTP produce request runs through."""

import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any

import pytest
import requests

from core.config import Gateway
from gateway.http.middleware import hashed
from tests.support.brokers import Broker
from tests.support.gateways import JSON_FORMAT, running
from tests.support.places import ROOT

MOST_FILES = 10
BODY = {"records": [{"key": 1, "value": {"index": 1}}]}
BY_KEY = {"x-api-key": "secret", "Accept": "application/json; q=0.9, */*; q=0.1"}
CLIENTS = {"Accept": "*/*"}, {**BY_KEY, "Idempotency-Key": "{number}"}


class ExecutedFiles:
    """A profile function that notes the project's files whose code runs."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(f"{ROOT}/"):
            self.seen.add(frame.f_code.co_filename.removeprefix(f"{ROOT}/"))

    def of_project(self) -> list[str]:
        return sorted(path for path in self.seen if not path.startswith((".venv/", "tests/")))


@pytest.mark.parametrize("headers", CLIENTS, ids=["plain", "with-keys"])
def test_a_produce_request_runs_through_few_files(
    mock_broker: Broker, headers: Mapping[str, str]
) -> None:
    executed, settings = ExecutedFiles(), Gateway(api_keys={"tester": hashed(b"secret")})
    settings = settings if "x-api-key" in headers else Gateway()
    threading.setprofile(executed)  # of the gateway's threads, which start from here on
    with (
        running(mock_broker.properties, settings=settings, served=["steady"]) as url,
        requests.Session() as session,
    ):
        threading.setprofile(None)
        for number in range(3):
            executed.seen.clear()
            response = session.post(
                f"{url}/test/topics/steady",
                json=BODY,
                headers={**JSON_FORMAT, **{k: v.format(number=number) for k, v in headers.items()}},
                timeout=20,
            )
            assert (response.status_code, response.json()["offsets"][0]["error_code"]) == (
                200,
                None,
            )
        files = executed.of_project()

    assert "gateway/kafka/producer.py" in files
    assert len(files) <= MOST_FILES, "\n".join(files)
