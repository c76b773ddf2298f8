"""What a process tells systemd, on a real socket."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import SystemClock
from monitor.systemd import READY_BY_S, Manager, Telling, notifying
from tests.support.clock import ManualClock
from tests.support.systemd import Listener, listening


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listener]:
    abstract = f"@pinpip-{uuid.uuid4()}"
    with listening(abstract if request.param == "abstract" else tmp_path / "notify") as own:
        yield own


class Process:
    """What a process says of itself."""

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        self.clock = ManualClock()
        self.dead: str | None = None
        self.unready: str | None = "no partition is assigned"
        self.status = "pin: starting"
        self.telling = Telling(
            Manager(address, watchdog),
            lambda: self.dead,
            lambda: self.unready,
            lambda: self.status,
            self.clock,
        )

    def turn(self, seconds: float = 0) -> None:
        self.clock.advance(seconds)
        self.telling.turn()


def test_ready_is_told_once_when_it_is_and_a_status_when_it_changes(manager: Listener) -> None:
    process = Process(manager.address)
    process.turn()
    assert manager.heard() == {"STATUS": "pin: starting"}
    process.turn(1)
    assert manager.is_silent()
    process.unready, process.status = None, "pin: up\nto date"
    process.turn(1)
    assert manager.heard() == {"READY": "1"}
    assert manager.heard() == {"STATUS": "pin: up to date"}
    process.unready = "the source has not responded for 9 s"
    process.turn(1)
    process.unready = None
    process.turn(1)
    assert manager.is_silent()


def test_a_process_whose_source_is_away_is_started_before_systemd_kills_it(
    manager: Listener,
) -> None:
    process = Process(manager.address)
    process.turn(READY_BY_S - 1)
    assert "READY" not in manager.heard()
    process.turn(1)
    assert manager.heard() == {"READY": "1"}


def test_the_watchdog_is_fed_within_half_its_time_and_only_while_alive(manager: Listener) -> None:
    process = Process(manager.address, watchdog=60)
    process.turn()
    assert manager.heard() == {"WATCHDOG": "1"}
    assert manager.heard() == {"STATUS": "pin: starting"}
    process.turn(28)
    assert manager.is_silent()
    process.turn(1)
    assert manager.heard() == {"WATCHDOG": "1"}
    process.dead = "the loop has not turned for 61 s"
    process.turn(100)
    assert manager.is_silent()


def test_a_dead_process_is_never_told_ready(manager: Listener) -> None:
    process = Process(manager.address)
    process.unready, process.dead = None, "the loop has not turned for 301 s"
    process.turn(READY_BY_S)
    assert "READY" not in manager.heard()


def test_a_manager_that_is_gone_harms_nothing(tmp_path: Path) -> None:
    Process(str(tmp_path / "nobody"), 10).turn()


def test_a_status_that_fails_costs_neither_ready_nor_the_watchdog(manager: Listener) -> None:
    process = Process(manager.address, watchdog=10)
    process.unready = None
    process.telling.status = lambda: str(1 / 0)
    with pytest.raises(ZeroDivisionError):
        process.turn()
    assert manager.heard() == {"READY": "1", "WATCHDOG": "1"}


def test_it_is_told_beside_the_process_until_it_stops(manager: Listener) -> None:
    own = Manager(manager.address, 60)
    with notifying(own, lambda: None, lambda: None, lambda: "well", SystemClock()):
        assert manager.heard() == {"READY": "1", "WATCHDOG": "1"}
        assert manager.heard() == {"STATUS": "well"}
    assert manager.until("STOPPING") == {"STOPPING": "1", "STATUS": "stopping"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": ""}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, None),
        ({"NOTIFY_SOCKET": "/run/n"}, Manager("/run/n")),
        ({"NOTIFY_SOCKET": "@n", "WATCHDOG_USEC": "60000000"}, Manager("@n", 60.0)),
        (
            {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())},
            Manager("/n", 5.0),
        ),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, Manager("/n")),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "soon"}, Manager("/n")),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "0"}, Manager("/n")),
    ],
)
def test_the_manager_is_the_one_of_the_environment(
    environment: dict[str, str], expected: Manager | None
) -> None:
    assert Manager.of(environment) == expected
