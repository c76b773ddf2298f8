"""A producer outlasts a gateway's restart, and always tells what became of its records."""

import json
import random
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter
from structlog.testing import capture_logs

from core.errors import FatalError
from producers import hints
from producers.client import GatewayClient
from producers.delivery import (
    RETRY_TIMEOUT_S,
    DeliveryReport,
    DeliveryStatus,
    ProducerRecord,
    Retry,
)
from producers.emulator import events
from producers.send import Driver, SendRoute
from tests.support.brokers import Broker
from tests.support.clock import ManualClock
from tests.support.commands import change, the_error
from tests.support.gateway_process import free_port, gateway_process
from tests.support.processes import Home, kafka_home, until

RECORDS = [ProducerRecord(1, {"ind": 1})]
STORED = (200, {"offsets": [{"partition": 0, "offset": 7}]})


class Away(BaseAdapter):
    """A gateway that nobody can reach until `back`, and that answers with `says` then."""

    def __init__(self, clock: ManualClock, back: float, says: tuple[int, Any] = STORED) -> None:
        super().__init__()
        self._clock, self._back, self._says = clock, back, says

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> Any:
        """One request."""
        if self._clock.monotonic() < self._back:
            raise requests.ConnectTimeout
        answer = requests.Response()
        answer.status_code, tree = self._says if request.body else (422, {})
        answer._content = json.dumps(tree).encode()
        answer.headers["Content-Length"] = str(len(answer.content))
        return answer

    def close(self) -> None:
        """Nothing to close."""


def client(away: Away, clock: ManualClock, **retry: Any) -> GatewayClient:
    """One that reaches this gateway alone."""
    made = GatewayClient("http://gateway", retry=Retry(5, clock, random.Random(1), **retry))
    made._session._session.mount("http://", away)
    return made


@pytest.mark.parametrize("seconds", [0.5, 10, 60])
def test_a_gateway_that_is_away_for_up_to_a_minute_is_outlasted(seconds: float) -> None:
    clock = ManualClock()
    with capture_logs() as logs:
        [result] = client(Away(clock, seconds), clock).send_kafka("t", RECORDS)
    assert result.status is DeliveryStatus.STORED
    said = ["outage", "outage_over"] if seconds > 5 else []
    assert [log["event"] for log in logs] == said


def test_a_gateway_that_stays_away_is_given_up_with_its_own_advice() -> None:
    clock = ManualClock()
    [result] = client(Away(clock, 3600), clock).send_kafka("t", RECORDS)
    assert (result.status, result.hint) == (DeliveryStatus.REJECTED, hints.GATEWAY)
    assert "ACL" not in result.hint
    assert RETRY_TIMEOUT_S <= clock.monotonic() < RETRY_TIMEOUT_S + 10


def test_a_producer_that_is_stopped_waits_no_longer() -> None:
    clock = ManualClock()
    stopping: Callable[[], bool] = lambda: clock.monotonic() > 20  # noqa: E731
    client(Away(clock, 3600), clock, stopping=stopping).send_kafka("t", RECORDS)
    assert 20 < clock.monotonic() < 30


def entry(code: int) -> tuple[int, Any]:
    """Make a response whose only record failed with this code."""
    return 200, {"offsets": [{"partition": None, "error_code": code, "error": "no"}]}


@pytest.mark.parametrize(
    ("says", "hint"),
    [
        ((403, {"message": "Forbidden"}), "producer.api_key"),
        ((404, {"message": "HTTP 404 Not Found"}), "create the topic"),
        ((503, {"message": "Kinesis refuses the gateway's credentials"}), "/ready"),
        (entry(40301), "ACLs: WRITE"),
        (entry(40401), "create the topic"),
        (entry(50002), "see the message"),
    ],
)
def test_each_refusal_has_its_own_advice(says: tuple[int, Any], hint: str) -> None:
    clock = ManualClock()
    [result] = client(Away(clock, 0, says), clock, seconds=0).send_kafka("t", RECORDS)
    assert result.status is DeliveryStatus.REJECTED
    assert hint in result.hint
    assert ("ACL" in result.hint) == (says == entry(40301))


def routes(*answers: Callable[[int], list[DeliveryReport]]) -> list[SendRoute]:
    """Make a route that responds to batches with these in turn, and repeats the last."""
    left = list(answers)

    def send(_target: str, records: Any) -> list[DeliveryReport]:
        return (left.pop(0) if len(left) > 1 else left[0])(len(records))

    return [SendRoute(send, {record: record for record in ("pin", "geo", "user")})]


def fatal(_count: int) -> list[DeliveryReport]:
    """Fail as a client that never sends again."""
    raise FatalError("Kafka refuses to store records", "see the user's rights")


@pytest.mark.parametrize(
    ("last", "unknown"),
    [
        (lambda count: [DeliveryReport(DeliveryStatus.REJECTED, error="away")] * count, 0),
        (fatal, 2),
    ],
)
def test_a_run_that_ends_early_has_counted_each_record_of_its_events(
    last: Callable[[int], list[DeliveryReport]], unknown: int
) -> None:
    clock = ManualClock()
    stored = lambda count: [DeliveryReport(DeliveryStatus.STORED)] * count  # noqa: E731
    taken: list[int] = []
    driver = Driver(routes(stored, last), batch=2, clock=clock, progress=taken.append)
    with pytest.raises(FatalError):
        driver.run(islice(events(1), 9))
    counts = [driver.summary.total(o) for o in DeliveryStatus]
    assert counts == [2, 3 * 2 - 2 - unknown - 1, unknown]


@pytest.fixture
def home(mock_broker: Broker, tmp_path: Path) -> Home:
    return kafka_home(tmp_path, mock_broker, mock_broker.create_topic())


@pytest.mark.process
def test_produce_outlasts_a_restart_of_the_gateway(mock_broker: Broker, home: Home) -> None:
    port = free_port()
    change(home, "producer", {"gateway_url": f"http://127.0.0.1:{port}/test"})
    arguments = ["produce", "--route", "kafka", "--rate", "100", "--count", "400", "--json"]
    for record in ("pin", "geo", "user"):
        mock_broker.produce(f"{home.config.id}.{record}", [b"makes the topic"])
    with (
        gateway_process(home, port, drain_wait=0) as gateway,
        home.running(*arguments) as producer,
    ):
        log = home.folder / "gateway.log"
        until(lambda: "/topics/" in log.read_text("utf-8"), "the first records")
        gateway.process.terminate()
        gateway.process.wait()
        with gateway_process(home, port):
            assert producer.wait(60) == 0
    [told] = [
        json.loads(line)
        for line in (home.folder / "process.log").read_text("utf-8").splitlines()
        if line.startswith("[{")
    ]
    assert [(row["stored"], row["rejected"], row["unknown"]) for row in told] == [(400, 0, 0)] * 3


@pytest.mark.process
def test_produce_says_what_is_stored_and_what_not_when_it_gives_up(home: Home) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/test"
    change(home, "producer", {"gateway_url": url, "retries": 0, "patience": 0})
    done = home.run("produce", "--route", "kafka", "--count", "7", "--json")
    assert sum(row["rejected"] for row in json.loads(done.stdout)) == 21
    said = the_error(done)
    assert f"no gateway answers at {url}" in said
    assert "see that the gateway runs" in said
