"""A fault that cannot be applied is counted as skipped; every kind of fault has an action."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest

from chaos.environment import Environment
from chaos.fleet import ConsumerProcess, Fleet, FleetSetup
from chaos.injection import MAX_CONSUMERS, MIN_CONSUMERS, Injection, Outages
from chaos.schedule import CLUSTER, UPKEEP, UPSERT, FaultKind, RoundSettings, ScheduledFault, draw
from core.clock import SystemClock
from core.errors import FatalError
from tests.support.processes import environment, until

SETTINGS = RoundSettings(seconds=60, session=3, brokers=1, storage=True, disk=True)


class Breakable:
    """A broker, a cluster, a storage and a disk that note what is done to them."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.calls.append(name)


@contextmanager
def injection(
    folder: Path, *, static: int = 0, dynamic: int = 0, **broken: Breakable | None
) -> Iterator[tuple[Injection, Fleet]]:
    """Working consumers, and an environment of which only the parts in `broken` exist."""
    clock = SystemClock()
    launch = FleetSetup(folder, folder / "missing.yaml", "user", environment(), {})
    absent = dict.fromkeys(("broker", "cluster", "storage", "disk"))
    parts = absent | {"clock": clock, "topic": "chaos", "launch": launch} | broken
    surroundings = cast(Environment, type("Environment", (), parts))
    fleet = Fleet(launch, draw(1, SETTINGS), clock, lambda *_: True)
    made = Injection(fleet, surroundings, Outages(clock))
    try:
        for number in range(static + dynamic):
            assign(fleet.start(f"c{number}", static=number < static))
        yield made, fleet
    finally:
        fleet.close()
        made.close()


def assign(member: ConsumerProcess) -> None:
    """Note that the consumer has partitions."""
    member.journal.touch()


def fault(kind: FaultKind) -> ScheduledFault:
    return ScheduledFault(at=0, kind=kind, seconds=0.01, status=503)


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        (FaultKind.JOIN, MAX_CONSUMERS),
        (FaultKind.LEAVE, MIN_CONSUMERS),
        (FaultKind.BROKER_RESTART, 0),
        (FaultKind.BROKER_KILL, 0),
        *((kind, 0) for kind in CLUSTER),
        (FaultKind.OUTAGE, 0),
        (FaultKind.FULL_DISK, 0),
    ],
)
def test_a_fault_that_cannot_be_applied_is_counted_as_skipped(
    tmp_path: Path, kind: FaultKind, members: int
) -> None:
    with injection(tmp_path, dynamic=members) as (made, fleet):
        made.apply(fault(kind))
        assert not made.running
        assert fleet.counts == {f"{kind} skipped": 1}
        assert len(made.targets()) == members


def test_without_a_static_member_one_is_frozen_instead_of_replaced_and_that_is_counted(
    tmp_path: Path,
) -> None:
    with injection(tmp_path, dynamic=1) as (made, fleet):
        made.apply(fault(FaultKind.REPLACED))
        assert fleet.counts == {"replaced zombie skipped": 1}
        assert [member.frozen for member in fleet.members] == [True]


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        (FaultKind.BROKER_RESTART, ["stop", "start"]),
        (FaultKind.BROKER_KILL, ["kill", "start"]),
        (FaultKind.LEADER_KILL, ["kill_leader"]),
        (FaultKind.LEADER_FREEZE, ["freeze_leader"]),
        (FaultKind.ROLL, ["roll"]),
        (FaultKind.CUT, ["cut"]),
        (FaultKind.OUTAGE, ["outage", "outage"]),
        (FaultKind.FULL_DISK, ["fill", "free"]),
    ],
)
def test_a_fault_on_a_thread_is_counted_when_it_is_over(
    tmp_path: Path, kind: FaultKind, calls: list[str]
) -> None:
    part = Breakable()
    with injection(tmp_path, broker=part, cluster=part, storage=part, disk=part) as (made, fleet):
        made.apply(fault(kind))

        def collected() -> bool:
            made.collect()
            return not made.running

        until(collected, "the fault to end")
        assert part.calls == calls
        assert fleet.counts == {f"{kind}s": 1}


def test_a_cluster_meets_one_fault_at_a_time(tmp_path: Path) -> None:
    first, part = Event(), Breakable()
    began: list[str] = []

    def roll() -> None:
        began.append("roll")
        first.wait(60)

    part.roll = roll  # type: ignore[attr-defined]
    part.kill_leader = lambda _: began.append("kill")  # type: ignore[attr-defined]
    with injection(tmp_path, cluster=part) as (made, fleet):
        made.apply(fault(FaultKind.ROLL))
        made.apply(fault(FaultKind.LEADER_KILL))
        until(lambda: bool(began), "the first fault to begin")
        made.collect()
        assert (began, made.running) == (["roll"], 2)
        first.set()

        def collected() -> bool:
            made.collect()
            return not made.running

        until(collected, "both faults to end")
        assert began == ["roll", "kill"]
        assert fleet.counts == {"broker rolls": 1, "leader kills": 1}


def test_an_error_of_a_fault_on_a_thread_is_raised(tmp_path: Path) -> None:
    part = Breakable()
    part.start = lambda: shutil.rmtree(tmp_path / "missing")  # type: ignore[attr-defined]
    with injection(tmp_path, broker=part) as (made, _):
        made.apply(fault(FaultKind.BROKER_KILL))

        def collected() -> bool:
            made.collect()
            return not made.running

        with pytest.raises(FileNotFoundError):
            until(collected, "the fault to fail")


@pytest.mark.parametrize("kind", [k for k in FaultKind if k is not FaultKind.REPLACED])
def test_every_kind_of_fault_is_applied_where_it_can_be(tmp_path: Path, kind: FaultKind) -> None:
    part = Breakable()
    parts = dict.fromkeys(("broker", "cluster", "storage", "disk"), part)
    with injection(tmp_path, static=1, dynamic=2, **parts) as (made, fleet):
        made.apply(fault(kind))
        assert not any(name.endswith("skipped") for name in fleet.counts)


@pytest.mark.parametrize("kind", UPKEEP + UPSERT)
@pytest.mark.parametrize(("seconds", "end"), [(0.01, "killed"), (60.0, "gave up")])
def test_a_command_that_rewrites_tables_is_killed_or_its_end_is_counted(
    tmp_path: Path, kind: FaultKind, seconds: float, end: str
) -> None:
    with injection(tmp_path) as (made, fleet):  # its configuration is missing
        made.apply(ScheduledFault(at=0, kind=kind, seconds=seconds))

        def collected() -> bool:
            made.collect()
            return not made.running

        until(collected, "the command to end")
        assert fleet.counts == {f"{kind}s": 1, f"{kind} {end}": 1}


def test_a_command_that_fails_after_the_faults_fails_the_round(tmp_path: Path) -> None:
    with injection(tmp_path) as (made, _), pytest.raises(FatalError, match="after the faults"):
        made.finish_upkeep(UPKEEP)
