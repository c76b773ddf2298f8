"""`pinpip status --watch`: on a terminal until Ctrl-C, a document a line as JSON."""

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pinpip.cli.signals import INTERRUPTED
from tests.support.brokers import Broker
from tests.support.commands import invoke
from tests.support.processes import Home, environment, kafka_home, payloads, until
from tests.support.waiting import STOPPING

LEAVES = b"\x1b[?1049l"


@pytest.fixture
def home(tmp_path: Path, mock_broker: Broker) -> Home:
    topic = mock_broker.create_topic()
    mock_broker.produce(topic, payloads(20))
    return kafka_home(tmp_path, mock_broker, topic)


class Terminal:
    """What a process has drawn."""

    def __init__(self, descriptor: int) -> None:
        self.text = b""
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)

    def shows(self, text: bytes) -> bool:
        """Tell whether it has drawn the text by now."""
        try:
            self.text += os.read(self._descriptor, 65_536)
        except BlockingIOError:
            pass
        except OSError:  # the other side is closed
            return text in self.text
        return text in self.text

    def resize(self, lines: int, columns: int) -> None:
        """Give it another size."""
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))


@contextmanager
def watching(home: Home) -> "Iterator[tuple[subprocess.Popen[bytes], Terminal]]":
    """Watch on a terminal of its own."""
    master, slave = os.openpty()
    terminal = Terminal(master)
    terminal.resize(24, 120)
    own = {k: v for k, v in environment().items() if k not in {"COLUMNS", "LINES"}}
    command = [sys.executable, "-m", "pinpip", "-c", str(home.config_path), "status", "--watch"]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=own | {"TERM": "xterm"}
    ) as process:
        os.close(slave)
        try:
            yield process, terminal
        finally:
            process.kill()
            os.close(master)


def test_it_shows_the_lag_and_ctrl_c_ends_it_at_once(home: Home) -> None:
    with watching(home) as (process, terminal):
        until(lambda: terminal.shows(b"user"), "the pipeline")
        until(lambda: terminal.shows(b"20"), "its lag")
        terminal.resize(10, 60)
        terminal.text = b""
        until(lambda: terminal.shows(b"user"), "the pipeline after the resize")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(STOPPING) == INTERRUPTED
        assert time.monotonic() - began < 2
        assert terminal.shows(LEAVES)
        assert b"Traceback" not in terminal.text


def test_as_json_it_prints_one_document_a_line(home: Home) -> None:
    command = [sys.executable, "-m", "pinpip", "-c", str(home.config_path)]
    command += ["status", "--watch", "--every", "0.5", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(STOPPING) == INTERRUPTED
    assert [line["pipelines"][0]["lag"] for line in lines] == [20, 20]
    assert lines[0]["at"] < lines[1]["at"]


def test_without_a_terminal_it_is_a_usage_error(home: Home) -> None:
    refused = invoke(home, "status", "--watch")
    assert refused.exit_code == 2
    assert "no terminal" in refused.stderr
