"""Bounded reading of Kinesis, and what verify asks of it."""

from datetime import timedelta

import pytest

from consumers.window import Window
from core.merge import merge
from tests.contracts.source_contract import Recorder, ends, opened
from tests.support.fake_kinesis import FakeClock, FakeKinesis
from tests.support.kinesis_reading import A, B, drain, everything, flat, source_of


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kinesis(clock: FakeClock) -> FakeKinesis:
    return FakeKinesis(clock)


def test_a_bounded_source_ends_at_what_had_arrived(clock: FakeClock) -> None:
    kinesis = FakeKinesis(clock, shards=2)
    kinesis.put(A, b"1")
    kinesis.put(B, b"2")
    (child,) = kinesis.reshard((A,), 1)
    kinesis.put(child, b"3")
    with opened(source_of(kinesis, window=Window()), Recorder()) as source:
        assert not source.exhausted
        parts = drain(source, 60)
        assert source.exhausted
        assert source.poll(1) is None
    assert sorted(map(bytes, filter(None, flat(parts)))) == [b"1", b"2", b"3"]
    assert clock.monotonic() < 10


def test_a_bounded_source_ends_on_a_stream_that_never_rests(kinesis: FakeKinesis) -> None:
    kinesis.limit = 2
    kinesis.put(A, b"1")
    with opened(source_of(kinesis, window=Window()), Recorder()) as source:
        polls = 0
        while not source.exhausted:
            kinesis.put(A, b"more", b"and", b"more")
            source.poll(0.5)
            polls += 1
            assert polls < 1000


def test_a_window_of_time_gives_the_records_that_arrived_in_it(kinesis: FakeKinesis) -> None:
    for minute in range(6):
        kinesis.put(A, b"%d" % minute)
        kinesis.clock.sleep(60)
    start = kinesis.clock.now() - timedelta(minutes=6)
    window = Window(since=start + timedelta(minutes=2), until=start + timedelta(minutes=4))
    assert flat(everything(kinesis, Recorder(), window=window)) == [b"2", b"3"]


def test_a_replay_resumes_and_a_later_window_has_no_gap(kinesis: FakeKinesis) -> None:
    for minute in range(6):
        kinesis.put(A, b"%d" % minute)
        kinesis.clock.sleep(60)
    start = kinesis.clock.now() - timedelta(minutes=6)
    early = Window(until=start + timedelta(minutes=2))
    first = everything(kinesis, Recorder(), window=early)
    assert flat(first) == [b"0", b"1"]
    held = Recorder(ends(merge(first)))
    assert everything(kinesis, held, window=early) == []
    late = Window(until=start + timedelta(minutes=5))
    assert flat(everything(kinesis, held, window=late)) == [b"2", b"3", b"4"]
