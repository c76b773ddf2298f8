"""`Idempotency-Key`: what a repeated request gets, and that nothing is stored twice."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core.config import Gateway
from core.web import hashed
from gateway.http.idempotency import RETENTION_S, ResponseStore
from gateway.http.responses import Refusal, reply
from tests.support.brokers import Broker
from tests.support.clock import ManualClock
from tests.support.gateways import JSON_FORMAT, read, running
from tests.support.slow_kafka import SlowKafka

BODY = b'{"records":[{"value":1},{"value":2}]}'


@pytest.fixture(scope="module")
def url(mock_broker: Broker) -> Iterator[str]:
    with running(mock_broker.properties) as running_url:
        yield running_url


@pytest.fixture
def topic(mock_broker: Broker) -> str:
    return mock_broker.create_topic()


def post(url: str, topic: str, key: str | None, **more: Any) -> requests.Response:
    headers = JSON_FORMAT | ({} if key is None else {"Idempotency-Key": key})
    headers |= more.pop("headers", {})
    body = more.pop("body", BODY)
    return requests.post(f"{url}/topics/{topic}", data=body, headers=headers, timeout=30)


def test_a_repeated_request_gets_the_first_answer_and_stores_nothing(
    mock_broker: Broker, url: str, topic: str
) -> None:
    first, again = post(url, topic, "k"), post(url, topic, "k")

    assert (again.status_code, again.text) == (first.status_code, first.text)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    post(url, topic, "another", body=b'{"records":[{"value":"end"}]}')
    assert sorted(r.value or b"" for r in read(mock_broker.bootstrap, topic, 3)) == [
        b'"end"',
        b"1",
        b"2",
    ]


def test_the_same_key_for_another_topic_is_another_request(
    mock_broker: Broker, url: str, topic: str
) -> None:
    post(url, topic, "k")
    other = mock_broker.create_topic()

    assert "idempotency-replayed" not in post(url, other, "k").headers
    assert len(read(mock_broker.bootstrap, other, 2)) == 2


def test_the_stage_makes_no_difference(url: str, topic: str) -> None:
    first, again = post(f"{url}/test", topic, "k"), post(url, topic, "k")

    assert again.text == first.text


def test_a_read_is_answered_afresh_whatever_its_key(mock_broker: Broker, url: str) -> None:
    def topics() -> list[str]:
        headers = {"Idempotency-Key": "read"}
        found: list[str] = requests.get(f"{url}/topics", headers=headers, timeout=20).json()
        return found

    before = topics()
    assert mock_broker.create_topic() not in before
    assert len(topics()) == len(before) + 1


def test_a_repeat_waits_for_the_first_that_is_still_running() -> None:
    kafka = SlowKafka()
    with running(kafka) as url, ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, url, "t", "k")
        assert kafka.asked.wait(10)
        again = pool.submit(post, url, "t", "k")
        assert requests.get(f"{url}/health", timeout=10).ok  # it has passed the gateway by then
        kafka.go.set()

        assert first.result().text == again.result().text
    assert kafka.calls == 1


def test_a_client_that_goes_away_leaves_its_answer_to_the_repeat() -> None:
    kafka = SlowKafka()
    with running(kafka) as url:
        with pytest.raises(requests.Timeout):
            requests.post(
                f"{url}/topics/t",
                data=BODY,
                headers=JSON_FORMAT | {"Idempotency-Key": "k"},
                timeout=0.3,
            )
        assert kafka.asked.wait(10)
        kafka.go.set()
        again = post(url, "t", "k")

    assert [o["offset"] for o in again.json()["offsets"]] == [0, 1]
    assert kafka.calls == 1


def test_without_a_key_every_request_is_stored(url: str, topic: str) -> None:
    offsets = [post(url, topic, None).json()["offsets"] for _ in range(2)]

    assert offsets[0] != offsets[1]


def test_a_key_with_another_body_is_422(url: str, topic: str) -> None:
    post(url, topic, "k")
    answer = post(url, topic, "k", body=b'{"records":[{"value":3}]}')

    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["message"]


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "é"])
def test_a_key_that_is_none_is_400(url: str, topic: str, key: str) -> None:
    answer = post(url, topic, None, headers={"Idempotency-Key": key.encode()})

    assert answer.status_code == 400


def test_keys_of_different_callers_are_different(mock_broker: Broker, topic: str) -> None:
    keys = {name: hashed(name.encode()) for name in ("one", "two")}
    with running(mock_broker.properties, settings=Gateway(api_keys=keys)) as url:
        answers = [post(url, topic, "k", headers={"x-api-key": name}).text for name in keys]

    assert answers[0] != answers[1]


def test_a_request_that_was_refused_may_be_mended_under_its_key(url: str, topic: str) -> None:
    assert post(url, topic, "k", body=b"{").status_code == 400
    assert post(url, topic, "k").status_code == 200


def test_another_scope_is_412_and_stores_nothing(mock_broker: Broker, url: str, topic: str) -> None:
    scope = post(url, topic, "a").headers["idempotency-scope"]
    with running(mock_broker.properties) as restarted:
        answer = post(restarted, topic, "b", headers={"Idempotency-Scope": scope})
        assert answer.status_code == 412
        assert answer.headers["idempotency-scope"] != scope
        own = {"Idempotency-Scope": answer.headers["idempotency-scope"]}
        assert post(restarted, topic, "b", headers=own).status_code == 200
    assert len(read(mock_broker.bootstrap, topic, 4)) == 4


def request(key: str) -> Request:
    headers = [(b"idempotency-key", key.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers})


class NumberedWork:
    """Answers that are numbered, or errors."""

    def __init__(self, *errors: Exception) -> None:
        self.runs = 0
        self._errors = list(errors)

    async def __call__(self) -> Response:
        """Answer or raise."""
        self.runs += 1
        await asyncio.sleep(0)
        if self._errors:
            raise self._errors.pop(0)
        return reply({"run": self.runs, "padding": "x" * 2000})


async def ask(answers: ResponseStore, key: str, work: NumberedWork) -> Any:
    response = await answers.once(request(key), "/topics/{topic}", b"body", work)
    return json.loads(bytes(response.body))["run"] if response.status_code == 200 else response


def test_an_answer_is_kept_for_ten_minutes() -> None:
    async def story() -> list[int]:
        clock = ManualClock()
        answers, work, runs = ResponseStore(10_000, clock), NumberedWork(), []
        for pause in (0.0, RETENTION_S - 1, 2.0):
            clock.sleep(pause)
            runs.append(await ask(answers, "k", work))
        return runs

    assert asyncio.run(story()) == [1, 1, 2]


def test_answers_beyond_the_limit_are_refused_and_none_is_forgotten_early() -> None:
    async def story() -> tuple[list[int], int]:
        clock = ManualClock()
        answers, work = ResponseStore(5 * 740, clock), NumberedWork()
        runs = [await ask(answers, f"k{n}", work) for n in range(5)]
        with pytest.raises(HTTPException) as full:
            await ask(answers, "another", work)
        assert full.value.status_code == 503
        assert [await ask(answers, f"k{n}", work) for n in range(len(runs))] == runs
        clock.sleep(RETENTION_S + 1)
        assert await ask(answers, "new", work) == len(runs) + 1
        return runs, answers.held

    runs, held = asyncio.run(story())
    assert runs == [1, 2, 3, 4, 5]
    assert held < 1500


@pytest.mark.parametrize(
    ("error", "runs"),
    [
        (Refusal(400, 400, "bad"), 2),
        (Refusal(429, "Throttled", "busy"), 2),
        (Refusal(503, 50003, "away"), 2),
        (HTTPException(413), 2),
        (Refusal(500, "InternalFailure", "outcome unknown"), 1),
    ],
)
def test_only_an_answer_after_which_something_may_be_stored_is_kept(
    error: Exception, runs: int
) -> None:
    async def story() -> int:
        answers, work = ResponseStore(10_000, ManualClock()), NumberedWork(error)
        for _ in range(2):
            try:
                await ask(answers, "k", work)
            except (Refusal, HTTPException):
                assert not answers.held
        return work.runs

    assert asyncio.run(story()) == runs
