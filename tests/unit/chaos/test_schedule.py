"""The schedule is a pure function of its seed, and each fault in it can do what it is for."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.points import Failpoint
from chaos.schedule import (
    BROKER_SESSION_S,
    CLUSTER,
    ONE_BROKER,
    UPKEEP,
    FaultKind,
    RoundSettings,
    Schedule,
    draw,
)

settings_of_rounds = st.builds(
    RoundSettings,
    seconds=st.floats(5, 600),
    session=st.floats(1, 45),
    brokers=st.sampled_from([0, 1, 3]),
    storage=st.booleans(),
    disk=st.booleans(),
    upsert=st.booleans(),
)
schedules = st.builds(draw, st.integers(0, 10**6), settings_of_rounds)
LONG = RoundSettings(seconds=42, session=3, brokers=1, storage=True, disk=False)


@settings(deadline=None)
@given(st.integers(), settings_of_rounds)
def test_the_same_seed_makes_the_same_schedule(seed: int, setting: RoundSettings) -> None:
    one, other = draw(seed, setting), draw(seed, setting)
    assert one == other
    assert [one.armed(n) for n in range(20)] == [other.armed(n) for n in range(20)]


def test_another_seed_makes_another_schedule() -> None:
    assert draw(1, LONG).faults != draw(2, LONG).faults
    armed, others = ([draw(seed, LONG).armed(n) for n in range(20)] for seed in (1, 2))
    assert armed != others


@settings(deadline=None)
@given(schedules)
def test_faults_come_in_order_and_inside_the_round(schedule: Schedule) -> None:
    times = [fault.at for fault in schedule.faults]
    assert times == sorted(times)
    assert all(0 < at <= schedule.settings.seconds + 0.01 for at in times)


@settings(deadline=None)
@given(schedules)
def test_a_zombie_sleeps_longer_than_the_group_waits_for_it(schedule: Schedule) -> None:
    session = schedule.settings.session
    frozen = [f for f in schedule.faults if f.kind in {FaultKind.ZOMBIE, FaultKind.REPLACED}]
    assert frozen
    assert all(fault.seconds > session for fault in frozen)
    armed = [schedule.armed(n) for n in range(50)]
    assert all(arm.seconds > session for arm in armed if arm.signal == "STOP")


@settings(deadline=None)
@given(schedules)
def test_a_silent_broker_is_fenced_by_its_cluster(schedule: Schedule) -> None:
    for fault in schedule.faults:
        if fault.kind in {FaultKind.LEADER_FREEZE, FaultKind.CUT}:
            assert fault.seconds > BROKER_SESSION_S


def test_a_seed_that_was_told_once_repeats_its_faults_on_one_broker() -> None:
    told = [fault for fault in draw(31, LONG).faults if fault.kind not in UPKEEP]
    faults = [(fault.at, fault.kind) for fault in told]
    assert faults[3:6] == [
        (17.04, FaultKind.REPLACED),
        (17.7, FaultKind.BROKER_KILL),
        (19.08, FaultKind.KILL),
    ]


@settings(deadline=None)
@given(schedules)
def test_only_what_the_round_owns_is_broken(schedule: Schedule) -> None:
    setting, kinds = schedule.settings, {fault.kind for fault in schedule.faults}
    assert (setting.brokers == 1) == bool(kinds & set(ONE_BROKER))
    assert kinds & set(CLUSTER) == (set(CLUSTER) if setting.brokers == 3 else set())
    assert setting.storage == (FaultKind.OUTAGE in kinds)
    assert setting.disk == (FaultKind.FULL_DISK in kinds)
    assert {FaultKind.KILL, FaultKind.TERM, FaultKind.JOIN, FaultKind.LEAVE} <= kinds
    assert set(UPKEEP) <= kinds
    assert setting.upsert == (FaultKind.LATEST in kinds)


@settings(deadline=None)
@given(schedules)
def test_an_outage_says_what_it_answers_and_ends(schedule: Schedule) -> None:
    for fault in schedule.faults:
        if fault.kind is FaultKind.OUTAGE:
            assert fault.status in {500, 503}
        if fault.kind in {FaultKind.OUTAGE, FaultKind.FULL_DISK}:
            assert 0 < fault.seconds < 10


def test_every_crash_point_is_drawn_sooner_or_later() -> None:
    arms = [draw(seed, LONG).armed(number) for seed in range(20) for number in range(20)]
    assert {arm.point for arm in arms} == {None, *Failpoint}
    assert {arm.signal for arm in arms if arm.point} == {"KILL", "STOP", "TERM"}
    assert any(jump.wall < 0 for arm in arms for jump in arm.jumps)
    assert all(jump.monotonic >= 0 for arm in arms for jump in arm.jumps)
