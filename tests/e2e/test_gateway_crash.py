"""The gateway and its broker killed and stopped under load: what clients were told is so.

A consumer of that broker is here as well, for the broker's sake: it may be killed.
"""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import requests
from structlog.testing import capture_logs

from consumers.kafka.source import KafkaSource
from core import retry
from core.clock import SystemClock
from core.retry import Outage
from pinpip.local.java import FAST_FENCING, KafkaProcess
from producers.client import GatewayClient
from producers.delivery import DeliveryStatus, ProducerRecord
from tests.contracts.source_contract import Recorder, opened, poll_until
from tests.support.brokers import Broker, frozen, own_kafka
from tests.support.gateway_process import GatewayProcess, free_port, gateway_process
from tests.support.gateways import JSON_FORMAT, everything
from tests.support.load import ClientLoad, assert_so, load
from tests.support.processes import Home, kafka_home, until

BODY = b'{"records":[{"key":1,"value":1},{"key":2,"value":2}]}'

FRAGILE = {"enable_idempotence": "true", "enable_gapless_guarantee": "true"}
"""With these librdkafka's producer is of no more use once the broker has refused a record."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    """Start a broker that tests may kill."""
    with own_kafka(tmp_path_factory.mktemp("kafka"), properties=FAST_FENCING) as own:
        yield own


@pytest.fixture
def topic(kafka: KafkaProcess) -> str:
    return broker_of(kafka).create_topic()


@pytest.fixture
def home(kafka: KafkaProcess, topic: str, tmp_path: Path) -> Home:
    return kafka_home(tmp_path, broker_of(kafka), topic)


def broker_of(kafka: KafkaProcess) -> Broker:
    return Broker(kafka.bootstrap, "its own", real=True)


def more(under: ClientLoad, records: int = 200) -> Callable[[], bool]:
    """Whether as many records more were acknowledged."""
    before = under.of(DeliveryStatus.STORED)
    return lambda: under.of(DeliveryStatus.STORED) >= before + records


def ready(gateway: GatewayProcess) -> tuple[int, str | None]:
    """Return the status code of /ready and the reason that it gives."""
    answer = requests.get(f"{gateway.url}/ready", timeout=30)
    return answer.status_code, answer.json().get("reason")


def test_a_gateway_killed_under_load_has_stored_what_it_said_and_nothing_twice(
    kafka: KafkaProcess, home: Home, topic: str
) -> None:
    port = free_port()
    with load(f"http://127.0.0.1:{port}", topic) as under:
        for _ in range(3):
            with gateway_process(home, port) as gateway:
                until(more(under), "records to be stored")
                gateway.process.kill()
                gateway.process.wait()
        with gateway_process(home, port):
            until(more(under), "records to be stored again")
            under.stopped.set()

    assert_so(under, kafka.bootstrap, topic)
    assert under.of(DeliveryStatus.UNKNOWN) > 0


def test_a_broker_killed_under_load_has_what_the_gateway_said_and_nothing_twice(
    kafka: KafkaProcess, home: Home, topic: str
) -> None:
    with gateway_process(home) as gateway, load(gateway.url, topic) as under:
        until(more(under), "records to be stored")
        kafka.kill()
        until(lambda: ready(gateway)[0] == 503, "the gateway to be unready")
        kafka.start()
        until(lambda: ready(gateway)[0] == 200, "the gateway to be ready again")
        until(more(under), "records to be stored again")
        under.stopped.set()

    assert_so(under, kafka.bootstrap, topic)


def post(url: str, topic: str) -> requests.Response:
    return requests.post(f"{url}/topics/{topic}", BODY, headers=JSON_FORMAT, timeout=60)


def test_a_stopped_gateway_gives_every_request_that_it_has_taken_its_answer(
    kafka: KafkaProcess, home: Home, topic: str
) -> None:
    with gateway_process(home) as gateway, ThreadPoolExecutor(20) as pool:
        assert post(gateway.url, topic).ok
        with frozen(kafka):
            taken = [pool.submit(post, gateway.url, topic) for _ in range(20)]
            until(lambda: in_flight(gateway) == 20 * len(BODY), "the requests to be under way")
            gateway.process.send_signal(signal.SIGTERM)
            until(lambda: not listens(gateway), "the gateway to take no more")
        answers = [job.result() for job in taken]
        assert gateway.process.wait(60) == 0

    assert {answer.status_code for answer in answers} == {200}
    offsets = [entry for answer in answers for entry in answer.json()["offsets"]]
    assert {entry["error_code"] for entry in offsets} == {None}
    held = {(r.partition, r.offset) for r in everything(kafka.bootstrap, topic)}
    assert held > {(entry["partition"], entry["offset"]) for entry in offsets}
    assert len(held) == len(offsets) + 2


def in_flight(gateway: GatewayProcess) -> int:
    """Bytes of the requests under way."""
    lines = requests.get(f"{gateway.url}/metrics", timeout=30).text.splitlines()
    [line] = [line for line in lines if not line.startswith("#") and "in_flight_bytes" in line]
    return int(float(line.split()[-1]))


def listens(gateway: GatewayProcess) -> bool:
    try:
        requests.get(f"{gateway.url}/health", timeout=30)
    except requests.ConnectionError:
        return False
    return True


def test_a_draining_gateway_says_so_and_takes_requests_until_its_wait_is_over(
    kafka: KafkaProcess, home: Home, topic: str
) -> None:
    with gateway_process(home, drain_wait=3) as gateway:
        with load(gateway.url, topic) as under:
            until(more(under), "records to be stored")
            gateway.process.send_signal(signal.SIGTERM)
            until(lambda: ready(gateway) == (503, "draining"), "the gateway to drain")
            until(more(under), "records to be stored while it drains")
            under.stopped.set()
        assert under.of(DeliveryStatus.STORED) == len(under.told)
        assert gateway.process.wait(60) == 0
    assert_so(under, kafka.bootstrap, topic)


def test_a_gateway_whose_producer_fails_for_good_goes_on_with_another(
    kafka: KafkaProcess, tmp_path: Path
) -> None:
    topic = broker_of(kafka).create_topic(max_message_bytes="50000")
    home = kafka_home(tmp_path, broker_of(kafka), topic, **FRAGILE)
    too_large = ProducerRecord(-1, os.urandom(100_000).hex())
    with (
        gateway_process(home) as gateway,
        GatewayClient(gateway.url) as client,
        load(gateway.url, topic) as under,
    ):
        for failures in range(1, 4):
            until(more(under), "records to be stored")
            [refused] = client.send_kafka(topic, [too_large])
            assert refused.status is DeliveryStatus.REJECTED
            until(partial(has_begun_anew, home, failures), "another producer")
        until(more(under), "records to be stored by another producer")
        under.stopped.set()
    assert_so(under, kafka.bootstrap, topic)


def has_begun_anew(home: Home, times: int) -> bool:
    log = (home.folder / "gateway.log").read_text("utf-8")
    return log.count("kafka producer replaced") >= times


def test_a_consumer_tells_of_brokers_that_are_all_away_and_when_they_are_back(
    kafka: KafkaProcess, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "NOTICE_AFTER_S", 0.3)
    watch, properties = Outage("source", SystemClock()), {"bootstrap.servers": kafka.bootstrap}
    source = KafkaSource(properties, [topic], topic, outage=watch)
    with capture_logs() as logs, opened(source, Recorder()):
        assert source.poll(0.5) is None
        kafka.kill()
        poll_until(source, lambda _: "outage" in [log["event"] for log in logs])
        assert watch.seconds() > 0
        kafka.start()
        poll_until(source, lambda _: watch.seconds() == 0)
    [began, over] = [log for log in logs if "outage" in log["event"]]
    assert "brokers are down" in began["error"]
    assert (over["event"], over["part"]) == ("outage_over", "source")
