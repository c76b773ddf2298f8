"""How many files of the project one HTTP produce request runs through."""

from collections.abc import Mapping

import pytest
import requests

from core.config import Gateway
from core.web import hashed
from tests.support.brokers import Broker
from tests.support.executed import executed_files
from tests.support.gateways import JSON_FORMAT, running

MAX_FILES = 10
BODY = {"records": [{"key": 1, "value": {"index": 1}}]}
BY_KEY = {"x-api-key": "secret", "Accept": "application/json; q=0.9, */*; q=0.1"}
CLIENTS = {"Accept": "*/*"}, {**BY_KEY, "Idempotency-Key": "{number}"}


@pytest.mark.parametrize("headers", CLIENTS, ids=["plain", "with-keys"])
def test_a_produce_request_runs_through_few_files(
    mock_broker: Broker, headers: Mapping[str, str]
) -> None:
    by_key = Gateway(api_keys={"tester": hashed(b"secret")})
    settings = by_key if "x-api-key" in headers else Gateway()
    with (
        executed_files() as files,
        running(mock_broker.properties, settings=settings, served=["steady"]) as url,
        requests.Session() as session,
    ):
        for number in range(3):
            files.clear()
            response = session.post(
                f"{url}/test/topics/steady",
                json=BODY,
                headers={**JSON_FORMAT, **{k: v.format(number=number) for k, v in headers.items()}},
                timeout=20,
            )
            assert response.status_code == 200
            assert response.json()["offsets"][0]["error_code"] is None
        ran = sorted(files)
    assert "gateway/kafka/producer.py" in ran
    assert len(ran) <= MAX_FILES, "\n".join(ran)
