"""The embedded stack and the real Kafka that it can start."""

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
from confluent_kafka.admin import AdminClient

from consumers.kafka.source import KafkaSource
from core import kafka as librdkafka
from core.batch import Position
from core.clock import SystemClock
from core.config import Config
from core.errors import ConfigError, FatalError
from pinpip import configfile
from pinpip.local import embedded
from pinpip.local.jars import jars
from pinpip.local.java import FAST_FENCING, KafkaProcess, free_port, real_kafka
from pinpip.local.stack import gateway_process, local_stack
from tests.contracts.source_contract import (
    Recorder,
    ends,
    numbered,
    opened,
    ordered,
    poll_until,
    read,
    rows,
    values,
)
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.places import ROOT
from tests.support.processes import until

JAVA = pytest.mark.skipif(
    not (shutil.which("java") and shutil.which("mvn")), reason="needs Java and Maven"
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Load the documented example under a unique id: moto's servers in one process share state."""
    text = (ROOT / "config.yaml").read_text().replace("id: demo", f"id: d{uuid4().hex[:8]}", 1)
    shared = '{stream: "streaming-{id}-pin", where: {partition_key: other}}'
    text += f"""
  shared:
    source: {shared}
    schema: transforms.pin:SCHEMA
    transform: transforms.pin:clean
    sinks: [{{delta: shared}}]
"""
    (tmp_path / "config.yaml").write_text(text)
    return configfile.load(tmp_path / "config.yaml")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where a stack says that it runs."""
    return tmp_path / ".pinpip" / "local.json"


# --- Apache Kafka


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    """Start a broker that the tests stop and kill."""
    with real_kafka(tmp_path_factory.mktemp("own"), properties=FAST_FENCING) as own:
        yield own


def broker_of(kafka: KafkaProcess) -> Broker:
    """Return the broker as the tests' helpers take it."""
    return Broker(kafka.bootstrap, "a test's own", real=True)


@JAVA
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_started_again_has_its_address_and_records(kafka: KafkaProcess, how: str) -> None:
    broker = broker_of(kafka)
    topic = broker.create_topic()
    broker.produce(topic, numbered(40))
    getattr(kafka, how)()
    assert kafka.pid is None
    kafka.start()
    with opened(KafkaSource(broker.properties, [topic], topic), Recorder()) as source:
        assert ordered(values(read(source, 40))) == numbered(40)


@JAVA
def test_a_source_outlives_its_brokers_restart(kafka: KafkaProcess) -> None:
    broker = broker_of(kafka)
    topic = broker.create_topic()
    broker.produce(topic, numbered(40))
    listener = Recorder()
    with opened(KafkaSource(broker.properties, [topic], topic), listener) as source:
        listener.positions |= ends(read(source, 40))  # the group may assign afresh after it
        kafka.stop()
        assert source.poll(1.0) is None
        kafka.start()
        broker.produce(topic, numbered(40, since=40))
        assert ordered(values(read(source, 40))) == numbered(40, since=40)


@JAVA
def test_a_seek_while_the_broker_is_away_is_done_once_it_is_back(kafka: KafkaProcess) -> None:
    broker = broker_of(kafka)
    topic = broker.create_topic()
    broker.produce(topic, numbered(40))
    listener = Recorder()
    with opened(KafkaSource(broker.properties, [topic], topic), listener) as source:
        listener.positions |= ends(read(source, 40))
        kafka.stop()
        listener.positions = dict.fromkeys(listener.held, Position(4))
        source.seek(listener.positions)
        assert source.poll(0.1) is None
        kafka.start()
        parts = poll_until(source, lambda parts: rows(parts) >= 24)
    assert min(part.frame["_offset"].min() for part in parts) == 4  # type: ignore[type-var]


@JAVA
def test_a_source_closes_in_time_though_its_broker_is_dead(kafka: KafkaProcess) -> None:
    broker = broker_of(kafka)
    topic = broker.create_topic()
    broker.produce(topic, numbered(4))
    with opened(KafkaSource(broker.properties, [topic], topic), Recorder()) as source:
        read(source, 4)
        kafka.kill()
        started = time.monotonic()
    assert time.monotonic() - started < 10
    kafka.start()


@JAVA
def test_a_broker_that_died_is_noticed(kafka: KafkaProcess) -> None:
    kafka.check()
    assert kafka.pid is not None
    os.kill(kafka.pid, signal.SIGKILL)
    with pytest.raises(FatalError, match=r"Apache Kafka ended with code -9"):
        until(lambda: kafka.check() is not None, "an error")  # type: ignore[func-returns-value]
    kafka.stop()
    kafka.start()


@JAVA
def test_a_broker_that_cannot_start_shows_its_last_words(tmp_path: Path) -> None:
    with (
        pytest.raises(FatalError, match=r"num\.network\.threads") as caught,
        real_kafka(tmp_path, properties={"num.network.threads": "many"}),
    ):
        pytest.fail("it must not start")
    assert caught.value.hint


def test_a_missing_java_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libs").mkdir()
    monkeypatch.setenv("PINPIP_KAFKA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FatalError, match="java, which is not on the PATH"), real_kafka(tmp_path):
        pytest.fail("it must not start")


def test_a_missing_maven_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINPIP_KAFKA_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FatalError, match="mvn, which is not on the PATH"):
        jars()
    assert not (tmp_path / "empty" / "libs").exists()


# --- the embedded stack


def test_without_moto_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moto.moto_server", None)
    monkeypatch.setitem(sys.modules, "moto", None)
    with (
        pytest.raises(ConfigError, match=r"pip install 'pinpip\[local\]'"),
        embedded.embedded_aws(),
    ):
        pytest.fail("it must not start")


def test_the_embedded_cluster_ends_with_its_block() -> None:
    with embedded.embedded_kafka() as bootstrap:
        host, port = bootstrap.split(":")
        socket.create_connection((host, int(port)), 5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 5)


def test_the_stack_has_what_the_configuration_names(config: Config, state: Path) -> None:
    with local_stack(config, kafka="mock", state=state) as stack:
        assert librdkafka.properties(config)["bootstrap.servers"] == stack.kafka
        assert config.aws.endpoint("s3") == stack.aws
        cloud = TestAws(stack.aws)
        cloud.client("s3").head_bucket(Bucket=f"pinpip-{config.id}")
        for kind in ("pin", "geo", "user"):
            name = f"streaming-{config.id}-{kind}"
            assert len(cloud.client("kinesis").list_shards(StreamName=name)["Shards"]) == 2
        topics = AdminClient({"bootstrap.servers": stack.kafka}).list_topics(timeout=10).topics
        assert {f"{config.id}.{kind}" for kind in ("pin", "geo", "user")} <= topics.keys()
    assert not state.exists()


@JAVA
def test_the_stacks_real_kafka_keeps_its_topics(config: Config, state: Path) -> None:
    topic = f"{config.id}.pin"
    config = config.model_copy(update={"pipelines": {"pin": config.pipeline("pin")}})
    with local_stack(config, kafka="real", state=state) as stack:
        Broker(stack.kafka, "real", real=True).produce(topic, numbered(8))
    with local_stack(config, kafka="real", state=state) as stack:
        properties = {"bootstrap.servers": stack.kafka}
        with opened(KafkaSource(properties, [topic], uuid4().hex), Recorder()) as source:
            assert ordered(values(read(source, 8))) == numbered(8)


def test_a_second_stack_is_refused_and_the_first_stays(config: Config, state: Path) -> None:
    with local_stack(config, kafka="mock", state=state):
        with (
            pytest.raises(ConfigError, match=f"process {os.getpid()}"),
            local_stack(config, kafka="mock", state=state),
        ):
            pytest.fail("two must not run")
        assert state.exists()


def test_a_killed_stacks_state_is_no_obstacle(config: Config, state: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    state.parent.mkdir()
    state.write_text(json.dumps({"kafka": "gone:1", "aws": "http://gone", "pid": dead.pid}))
    with local_stack(config, kafka="mock", state=state) as stack:
        assert json.loads(state.read_text())["kafka"] == stack.kafka


def test_a_gateway_that_cannot_start_ends_in_an_error(config: Config, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("id: [")
    own = config.gateway.model_copy(update={"port": free_port()})
    broken = config.model_copy(update={"gateway": own})
    with pytest.raises(FatalError, match="gateway"), gateway_process(path, broken, SystemClock()):
        pytest.fail("it must not start")


def test_a_server_on_the_gateways_port_is_not_taken_for_the_gateway(
    config: Config, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        own = config.gateway.model_copy(update={"port": other.getsockname()[1]})
        taken = config.model_copy(update={"gateway": own})
        with (
            pytest.raises(FatalError, match=r"cannot listen on .*: Address already in use\n"),
            gateway_process(tmp_path / "config.yaml", taken, SystemClock()),
        ):
            pytest.fail("it must not start")


def test_a_gateway_that_died_is_noticed(config: Config, state: Path) -> None:
    own = config.gateway.model_copy(update={"port": free_port()})
    path = state.parents[1] / "config.yaml"
    path.write_text(path.read_text().replace("port: 8082", f"port: {own.port}"))
    with (
        local_stack(config, kafka="mock", state=state),
        gateway_process(path, config.model_copy(update={"gateway": own}), SystemClock()) as gateway,
    ):
        gateway.check()
        gateway.process.kill()
        gateway.process.wait()
        with pytest.raises(FatalError, match=r"the gateway at http://.* ended with code -9"):
            gateway.check()


def test_moto_serves_one_request_at_a_time_and_reads_bodies_before() -> None:
    inside: list[int] = []
    together: list[int] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        inside.append(1)
        body = environ["wsgi.input"].read()
        time.sleep(0.01)  # long enough for another thread to enter, if it may
        together.append(len(inside))
        inside.pop()
        start_response("200 OK", [])
        return [body]

    served = embedded.one_at_a_time(application)

    def ask(number: int) -> bytes:
        body = b"%d" % number
        environ = {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return b"".join(served(environ, lambda *_: None))  # type: ignore[arg-type]

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(16)))
    assert answers == [b"%d" % number for number in range(16)]
    assert set(together) == {1}


def test_errors_of_the_embedded_aws_go_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "aws.log"
    with embedded.embedded_aws(log) as url:
        logging.getLogger("werkzeug").error("a fault of moto's")
        assert requests.get(url, timeout=10).status_code < 500
    logging.getLogger("werkzeug").error("after the end")
    assert log.read_text(encoding="utf-8") == "a fault of moto's\n"
