"""Signals: what ends a process, and how soon."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from pinpip.cli.signals import INTERRUPTED
from pinpip.local.java import free_port
from tests.support.brokers import Broker
from tests.support.commands import change
from tests.support.gateway_process import gateway_process
from tests.support.processes import Home, environment, kafka_home, stop, until
from tests.support.waiting import STOPPING

# The command's script, which says when Python has handed over to pinpip.
MARKED = """
import sys
sys.argv[0] = "/bin/pinpip"
import pinpip
print("loading", flush=True)
from pinpip.cli import main
main()
"""


@pytest.fixture
def home(tmp_path: Path, mock_broker: Broker) -> Home:
    """Make a home whose topic is empty."""
    return kafka_home(tmp_path, mock_broker, mock_broker.create_topic())


def serving(port: int) -> bool:
    """Tell whether a consumer serves its metrics."""
    try:
        return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).ok
    except requests.ConnectionError:
        return False


def consuming(home: Home, port: int) -> list[str]:
    """Return the command of a consumer that shows by its metrics when it runs."""
    command = [sys.executable, "-m", "pinpip", "--config", str(home.config_path)]
    return [*command, "consume", "--metrics-port", str(port)]


def test_sighup_does_not_end_a_gateway_without_a_terminal(home: Home) -> None:
    with gateway_process(home) as gateway:
        gateway.process.send_signal(signal.SIGHUP)
        assert requests.get(f"{gateway.url}/health", timeout=10).ok
        assert stop(gateway.process) == 0


def test_sighup_does_not_end_a_consumer_without_a_terminal(home: Home) -> None:
    port = free_port()
    with home.running("consume", "--metrics-port", str(port)) as consumer:
        until(lambda: serving(port), "the metrics")
        until(lambda: catches(consumer.pid, signal.SIGHUP), "the handler")
        consumer.send_signal(signal.SIGHUP)
        assert serving(port)
        assert stop(consumer) == 0


@pytest.mark.parametrize("prefix", [[], ["nohup"]])
def test_a_closed_terminal_ends_its_consumer_but_not_with_nohup(
    home: Home, prefix: list[str]
) -> None:
    port = free_port()
    master, terminal = os.openpty()
    command = [*prefix, *consuming(home, port)]
    with subprocess.Popen(
        command,
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env=environment(),
        cwd=home.folder,
    ) as consumer:
        try:
            until(lambda: serving(port), "the metrics")
            until(lambda: catches(consumer.pid, signal.SIGTERM), "the handlers")
            consumer.send_signal(signal.SIGHUP)
            if prefix:
                assert serving(port)
                assert stop(consumer) == 0
            else:
                assert consumer.wait(STOPPING) == 0
        finally:
            consumer.kill()
            os.close(master)
            os.close(terminal)


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_ctrl_c_while_a_command_starts_is_no_traceback(home: Home, delay: float) -> None:
    with started(home, "report", program=["-c", MARKED]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=STOPPING)
    assert process.returncode in {-signal.SIGINT, INTERRUPTED, 0}, complaint
    assert "Traceback" not in said + complaint


def test_ctrl_c_ends_a_command_whose_broker_never_answers(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        change(home, "kafka/bootstrap.servers", f"127.0.0.1:{silent.getsockname()[1]}")
        with started(home, "status") as process:
            connection, _ = silent.accept()
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            said, complaint = process.communicate(timeout=STOPPING)
        connection.close()
    assert process.returncode == INTERRUPTED
    assert (said, complaint) == ("", "")
    assert time.monotonic() - began < 2


@contextmanager
def started(
    home: Home, *arguments: str, program: Sequence[str] = ("-m", "pinpip")
) -> "Iterator[subprocess.Popen[str]]":
    """Run the command; what it prints is kept."""
    command = [sys.executable, *program, "--config", str(home.config_path), *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=home.folder,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def catches(pid: int, number: int) -> bool:
    """Tell whether the process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


IN_A_QUERY = """
import sys
from pathlib import Path
import duckdb
from pinpip.cli.signals import leave_on_interrupt, tidying
leave_on_interrupt()
part = Path(sys.argv[1])
part.touch()
many = "range(1000000000)"
with tidying(part.unlink):
    print("begins", flush=True)
    duckdb.sql(f"SELECT count(*) FROM {many} a, {many} b WHERE a.range * b.range % 7 = 3").pl()
"""


def test_ctrl_c_ends_a_query_of_a_report_and_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    part = tmp_path / "answer.part"
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_QUERY, str(part)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begins\n"
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=STOPPING)
        finally:
            process.kill()
    assert (process.returncode, error) == (INTERRUPTED, "")
    assert not part.exists()
