"""Consumer processes that end: what a fault explains is counted, anything else fails the round."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import chaos.fleet
from chaos.fleet import ConsumerProcess, Fleet, FleetSetup
from chaos.schedule import RoundSettings, draw
from core.clock import SystemClock
from core.errors import FatalError
from tests.support.processes import environment, until

QUIET = draw(1, RoundSettings(seconds=60, session=3, brokers=0, storage=False, disk=False))


@contextmanager
def fleet(folder: Path, excused: Callable[[float, float], bool]) -> Iterator[Fleet]:
    """Consumers without a configuration: each ends with code 1."""
    launch = FleetSetup(folder, folder / "missing.yaml", "user", environment(), {})
    made = Fleet(launch, QUIET, SystemClock(), excused)
    try:
        yield made
    finally:
        made.close()


def tick_until(own: Fleet, condition: Callable[[], bool]) -> None:
    def turned() -> bool:
        own.tick()
        return condition()

    until(turned, "the fleet to see it")


def test_an_error_that_no_fault_explains_fails_the_round_and_shows_the_log(tmp_path: Path) -> None:
    with fleet(tmp_path, lambda *_: False) as own:
        own.start("c0", static=False)
        with pytest.raises(FatalError) as failure:
            tick_until(own, lambda: False)
    assert "consumer c0 ended with code 1, which no fault explains" in failure.value.message
    assert "missing.yaml cannot be read" in failure.value.hint


def test_a_consumer_that_an_outage_ends_is_counted_and_started_again(tmp_path: Path) -> None:
    with fleet(tmp_path, lambda *_: True) as own:
        own.start("c0", static=True)
        tick_until(own, lambda: own.counts["gave up"] == 1)
        assert [(member.name, member.static) for member in own.members] == [("c0", True)]
    assert own.gave_up


def test_an_end_that_was_seen_late_is_explained_by_what_was_away_meanwhile(tmp_path: Path) -> None:
    looks: list[tuple[float, float]] = []

    def excused(since: float, until: float) -> bool:
        looks.append((since, until))
        return True

    with fleet(tmp_path, excused) as own:
        member = own.start("c0", static=False)
        own.tick()
        began = time.monotonic()
        member.process.wait()
        own.tick()
    [(earlier, later)] = looks
    assert earlier <= began <= later


def test_a_killed_consumer_has_a_successor_and_one_that_left_has_none(tmp_path: Path) -> None:
    with fleet(tmp_path, lambda *_: False) as own:
        own.kill(own.start("c0", static=False))
        tick_until(own, lambda: own.counts["kills"] == 1)
        [successor] = own.members
        assert successor.after_kill
        own.term(successor, restarts=False)
        tick_until(own, lambda: own.counts["terms"] == 1)
        assert own.members == []


def stand_in(member: ConsumerProcess, code: str) -> None:
    """Run other code in the place of the consumer; return when it has a journal."""
    member.process.kill()
    member.process.wait()
    ready = f"open({str(member.journal)!r}, 'w').close()"
    whole = f"import faulthandler, signal, sys, time\n{code}\n{ready}\ntime.sleep(60)"
    with member.log.open("wb") as log:
        member.process = subprocess.Popen([sys.executable, "-c", whole], stderr=log)
    until(member.journal.exists, "the other code to run")


LEAVES = "signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped without the answers of: {}'))"


def test_a_consumer_that_leaves_late_after_sigterm_is_counted(tmp_path: Path) -> None:
    with fleet(tmp_path, lambda *_: False) as own:
        member = own.start("c0", static=False)
        stand_in(member, LEAVES.format("clean"))
        own.term(member, restarts=False)
        tick_until(own, lambda: own.counts["left late"] == 1)


def test_a_consumer_that_leaves_so_without_sigterm_fails_the_round(tmp_path: Path) -> None:
    with fleet(tmp_path, lambda *_: False) as own:
        member = own.start("c0", static=False)
        left = "sys.exit('stopped without the answers of: clean')"
        stand_in(member, f"open({str(member.journal)!r}, 'w').close()\n{left}")
        with pytest.raises(FatalError, match="ended with code 1"):
            tick_until(own, lambda: False)


def test_a_consumer_that_ends_late_writes_its_stacks_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos.fleet, "LATE_S", 0.1)
    with fleet(tmp_path, lambda *_: False) as own:
        member = own.start("c0", static=False)
        hangs = "signal.signal(signal.SIGTERM, lambda *_: None)"
        stand_in(member, f"{hangs}\nfaulthandler.register(signal.SIGUSR1)")
        own.term(member, restarts=False)
        tick_until(own, lambda: "most recent call first" in member.tail())


@pytest.mark.slow
def test_a_frozen_consumer_wakes_up_when_it_was_told_to(tmp_path: Path) -> None:
    with fleet(tmp_path, lambda *_: True) as own:
        member = own.start("c0", static=False)
        own.freeze(member, 0.5)
        asleep = time.monotonic()
        tick_until(own, lambda: own.counts["zombies"] == 1)
        assert time.monotonic() - asleep >= 0.4
        tick_until(own, lambda: own.counts["gave up"] == 1)
