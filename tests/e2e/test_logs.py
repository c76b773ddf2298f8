"""The log as people and programs get it: by processes, on a terminal, on a pipe, through a kill."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.config import LOG_FORMAT
from tests.support.brokers import Broker, own_kafka
from tests.support.processes import Home, environment, kafka_home, payloads, until

pytestmark = pytest.mark.process


@contextmanager
def consumer(home: Home, err: Any, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `pinpip consume` with standard error on `err`; its format is what config.yaml says."""
    own = {k: v for k, v in environment().items() if k not in {LOG_FORMAT, "NO_COLOR"}}
    command = [sys.executable, "-m", "pinpip", "-c", str(home.config_path), "consume", "user"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=err, env={**own, "TERM": "xterm", **more}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def filled(broker: Broker, folder: Path) -> Home:
    """Make a home whose topic has 100 records, two of them bad."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(100))
    return kafka_home(folder, broker, topic)


def test_on_a_pipe_every_line_is_json_and_a_kill_loses_none(
    mock_broker: Broker, tmp_path: Path
) -> None:
    home = filled(mock_broker, tmp_path)
    log = tmp_path / "err.log"
    with log.open("wb") as err, consumer(home, err) as process:
        until(lambda: home.rows() == 100, "the rows")
        until(lambda: "record_quarantined" in log.read_text("utf-8"), "the first rejects")
        process.send_signal(signal.SIGKILL)
        process.wait()
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["starting", "reading", "record_quarantined"]
    assert {line["pipeline"] for line in lines} == {"user"}
    assert lines[2].items() >= {"reason": "not_json", "level": "warning", "rows": 2}.items()
    assert {"topic", "partition", "offset", "detail"} <= lines[2].keys()


def test_a_stop_and_an_error_are_json_too(mock_broker: Broker, tmp_path: Path) -> None:
    home = filled(mock_broker, tmp_path)
    log = tmp_path / "err.log"
    with log.open("wb") as err, consumer(home, err) as process:
        until(lambda: home.rows() == 100, "the rows")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    *_, last = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert (last["event"], last["records"], last["quarantined"]) == ("stopped", 100, 2)

    with log.open("wb") as err, consumer(home, err, PINPIP_KAFKA__BOOTSTRAP_SERVERS="x:9") as bad:
        assert bad.wait(60) == 1
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert (lines[-1]["event"], lines[-1]["level"]) == ("failed", "error")
    assert "no broker of x:9 can be reached" in lines[-1]["error"]
    assert lines[-1]["next"]


@pytest.mark.parametrize("more", [{}, {"NO_COLOR": "1"}], ids=["colours", "no_color"])
def test_on_a_terminal_the_lines_are_for_people(
    mock_broker: Broker, tmp_path: Path, more: dict[str, str]
) -> None:
    home = filled(mock_broker, tmp_path)
    ours, theirs = pty.openpty()
    with consumer(home, theirs, **more) as process:
        os.close(theirs)
        until(lambda: home.rows() == 100, "the rows")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    text = _all_of(ours)
    assert ("\x1b[" in text) == (not more)
    plain = [line for line in text.splitlines() if line]
    assert not any(line.startswith("{") for line in plain)
    assert all(word in text for word in ("starting", "reading", "record quarantined", "stopped"))


def _all_of(terminal: int) -> str:
    found = b""
    try:
        while part := os.read(terminal, 65536):
            found += part
    except OSError:  # the other side is closed
        pass
    os.close(terminal)
    return found.decode()


@pytest.mark.real_broker
@pytest.mark.slow
def test_an_outage_of_the_broker_begins_and_ends_once_with_pipeline_and_broker_named(
    tmp_path: Path,
) -> None:
    with own_kafka(tmp_path / "kafka") as kafka:
        home = filled(Broker(kafka.bootstrap, "its own", real=True), tmp_path / "home")
        log = tmp_path / "err.log"
        with log.open("wb") as err, consumer(home, err) as process:
            until(lambda: home.rows() == 100, "the rows")
            for _ in range(2):  # the second one within a minute is only counted
                kafka.kill()
                until(lambda: "outage" in log.read_text("utf-8"), "the outage")
                kafka.start()
                until(lambda: "outage_over" in log.read_text("utf-8"), "its end")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    began, over = [line for line in lines if line["event"].startswith("outage")]
    assert [began["event"], over["event"]] == ["outage", "outage_over"]
    for line in (began, over):
        assert (line["pipeline"], line["part"]) == ("user", "source")
        assert kafka.bootstrap in line["endpoint"]
    assert "brokers are down" in began["error"]
    assert began["next"]
    assert not [line for line in lines if line["event"] == "kafka_client" and "FAIL" in str(line)]
