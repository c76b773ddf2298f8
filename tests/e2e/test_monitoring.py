"""Faults are told within ten seconds, by page, health, metrics and alerts; and that they are over.

Real processes, a real Kafka, and a real Prometheus with the rules of deploy/prometheus.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from pinpip.local.java import KafkaProcess
from tests.support.brokers import Broker, own_kafka
from tests.support.commands import change
from tests.support.disks import small_disk
from tests.support.gateway_process import free_port
from tests.support.processes import Home, Process, kafka_home, until
from tests.support.prometheus import Prometheus, prometheus

pytestmark = [pytest.mark.process, pytest.mark.real_broker, pytest.mark.slow]

TELLS = 10.0  # seconds from a fault, and from its end, until it is told
RECORDS = 200
SILENCE = "not answered"

# The pipeline's own code: the loop hangs while there is a file `freeze`, the transform for `hang`.
FREEZING = """
import time
from pathlib import Path
from consumers.engine.loop import Loop
from transforms import user
from transforms.user import SCHEMA

def clean(records):
    while Path("hang").exists():
        time.sleep(0.05)
    return user.clean(records)

turn = Loop.run_once
def hanging(self):
    while Path("freeze").exists():
        time.sleep(0.05)
    turn(self)
Loop.run_once = hanging
"""


@dataclass(frozen=True)
class Told:
    """What a consumer and its Prometheus tell at one moment."""

    ready: int | str
    live: int | str
    word: str
    why: str
    alerts: set[str]


@dataclass
class Watched:
    """A consumer that Prometheus watches."""

    home: Home
    broker: Broker
    topic: str
    process: Process
    port: int
    prometheus: Prometheus
    sent: int = 0

    def send(self, count: int, *, bad: bool = False) -> None:
        """Produce records, one in five of them bad if wanted."""
        numbers = range(self.sent, self.sent + count)
        good = b'{"ind": %d, "first_name": "No", "age": 30, "date_joined": "2016-01-02T03:04:05"}'
        values = [b"no JSON" if bad and n % 5 == 0 else good % n for n in numbers]
        self.broker.produce(self.topic, values)
        self.sent += count

    def page(self) -> dict[str, Any]:
        """Return the pipeline as the page has it."""
        [pipeline] = self._get("/page.json").json()["pipelines"]
        return dict(pipeline)

    def metric(self, name: str) -> float | None:
        """Return the metric as Prometheus has it."""
        return self.prometheus.value(name)

    def told(self) -> Told:
        """Return what is told now."""
        try:
            state = self.page()["state"]
        except requests.RequestException:
            state = {"word": SILENCE, "why": ""}
        alerts = self.prometheus.alerts()
        return Told(self._code("/ready"), self._code("/live"), state["word"], state["why"], alerts)

    def _code(self, path: str) -> int | str:
        try:
            return self._get(path).status_code
        except requests.RequestException:
            return SILENCE

    def _get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=1)

    def tells(self, condition: Callable[[Told], bool], within: float = TELLS) -> Told:
        """Return what is told once the condition holds, which it must in time."""
        began = time.monotonic()
        while not condition(told := self.told()):
            assert time.monotonic() - began < within, f"not within {within:g} s; at last {told}"
            time.sleep(0.1)
        return told

    def tells_of(self, word: str, alert: str) -> Told:
        """Return what is told once page, /ready and alerts tell the fault; it is no death."""
        return self.tells(
            lambda t: (t.word, t.ready, t.live) == (word, 503, 200) and alert in t.alerts
        )

    def is_well(self) -> None:
        """Return once everything tells that all is well, which it must in time."""
        self.tells(lambda t: (t.ready, t.word, t.alerts) == (200, "up to date", set()))


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    with own_kafka(tmp_path_factory.mktemp("kafka")) as own:
        yield own


@contextmanager
def watched(folder: Path, kafka: KafkaProcess, lake: Path | None = None) -> Iterator[Watched]:
    """Yield a consumer that is up to date."""
    broker = Broker(kafka.bootstrap, "a broker of its own", real=True)
    topic = broker.create_topic(2)
    home, port = kafka_home(folder, broker, topic), free_port()
    (folder / "freezing.py").write_text(FREEZING, encoding="utf-8")
    change(home, "pipelines/user/schema", "freezing.py:SCHEMA")
    change(home, "pipelines/user/transform", "freezing.py:clean")
    if lake is not None:
        change(home, "lake/root", str(lake))
    with (
        home.running("consume", "--metrics-port", str(port)) as process,
        prometheus(folder / "prometheus", port) as own,
    ):
        made = Watched(home, broker, topic, process, port, own)
        made.send(RECORDS)
        until(lambda: made.told().word == "up to date", "a consumer that is up to date")
        until(lambda: made.page()["clean"] == RECORDS and not own.alerts(), "quiet alerts")
        seen = "count_over_time(pinpip_ready[1m])"  # a rate needs two scrapes
        until(lambda: (own.value(seen) or 0) > 1, "scrapes")
        yield made


@pytest.fixture
def consumer(tmp_path: Path, kafka: KafkaProcess) -> Iterator[Watched]:
    with watched(tmp_path, kafka) as own:
        yield own


def test_a_killed_broker_is_told_and_its_return(kafka: KafkaProcess, consumer: Watched) -> None:
    kafka.kill()
    consumer.tells_of("waiting", "PinpipNotReady")
    assert consumer.metric("pinpip_ready") == 0
    kafka.start()
    consumer.is_well()


def test_a_stopped_broker_is_told_and_its_return(kafka: KafkaProcess, consumer: Watched) -> None:
    assert kafka.pid is not None
    os.kill(kafka.pid, signal.SIGSTOP)
    try:
        consumer.tells_of("waiting", "PinpipNotReady")
    finally:
        os.kill(kafka.pid, signal.SIGCONT)
    consumer.is_well()


def test_a_loop_that_hangs_is_told_and_its_return(consumer: Watched) -> None:
    freeze = consumer.home.folder / "freeze"
    freeze.touch()
    consumer.tells_of("frozen", "PinpipFrozen")
    freeze.unlink()
    consumer.is_well()


def test_a_transform_that_hangs_is_told_and_its_return(consumer: Watched) -> None:
    hang = consumer.home.folder / "hang"
    hang.touch()
    consumer.send(RECORDS)
    consumer.tells_of("stuck", "PinpipNotReady")
    hang.unlink()
    consumer.is_well()
    assert consumer.page()["clean"] == 2 * RECORDS


def test_a_process_that_hangs_is_told_and_its_return(consumer: Watched) -> None:
    consumer.process.send_signal(signal.SIGSTOP)
    try:
        told = consumer.tells(lambda t: t.ready == SILENCE and "PinpipDown" in t.alerts)
    finally:
        consumer.process.send_signal(signal.SIGCONT)
    assert told.live == SILENCE
    consumer.is_well()


def test_a_full_disk_is_told_and_that_there_is_room(kafka: KafkaProcess, tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", "4m") as disk,
        watched(tmp_path, kafka, tmp_path / "disk/lake") as consumer,
    ):
        disk.fill()
        consumer.send(RECORDS)
        told = consumer.tells_of("waiting", "PinpipOutage")
        assert "No space left on device" in told.why
        [outage] = consumer.page()["outages"]
        assert outage["part"] == "clean"
        assert "make room" in outage["next"]
        assert (consumer.metric('pinpip_outage_seconds{part="clean"}') or 0) > 0
        disk.free()
        consumer.is_well()
        assert consumer.page()["clean"] == 2 * RECORDS


def test_bad_records_are_told_with_their_reason(consumer: Watched) -> None:
    consumer.send(RECORDS, bad=True)
    told = consumer.tells(lambda t: t.word == "rejecting" and "PinpipQuarantine" in t.alerts)
    assert told.ready == 200  # it works: good records are not held up
    assert told.why.startswith("10% of the last minute's records were quarantined")
    [reason] = consumer.page()["reasons"]
    assert (reason["rows"], reason["samples"][0]["value"]) == (RECORDS // 5, "no JSON")
    assert consumer.metric("pinpip_quarantined_total") == RECORDS // 5
