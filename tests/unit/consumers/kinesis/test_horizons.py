"""How far shards were read, and when, by the responses of a fake stream."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.kinesis.kpl import UserRecord
from consumers.kinesis.source import KinesisSource
from consumers.window import Window
from core.batch import Partition, Position
from core.observer import FOREVER, Horizon
from tests.contracts.source_contract import Recorder, opened
from tests.support.aggregates import aggregate
from tests.support.examples import examples
from tests.support.fake_kinesis import FakeClock, FakeKinesis
from tests.support.kinesis_reading import A, drain, of, source_of

Told = dict[Partition, Horizon]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kinesis(clock: FakeClock) -> FakeKinesis:
    return FakeKinesis(clock)


def told(source: KinesisSource, seconds: float) -> Told:
    """Poll for `seconds` of the fake clock; return the newest horizon of each shard."""
    found: Told = {}
    for _ in range(int(seconds)):
        drain(source, 1)
        found |= source.horizons()
    return found


def test_a_shard_in_the_midst_of_its_records_is_as_fresh_as_the_last_one(
    kinesis: FakeKinesis,
) -> None:
    kinesis.limit = 2
    numbers = kinesis.put(A, b"1", b"2")
    first = kinesis.clock.now()
    kinesis.clock.sleep(600)
    kinesis.put(A, b"3", b"4", b"5")
    with opened(source_of(kinesis), Recorder()) as source:
        assert source.poll(1) is not None
        horizon = source.horizons()[of(A)]
    assert horizon.position == Position(numbers[1])
    assert first - timedelta(seconds=10) < horizon.until <= first


def test_an_aggregate_counts_to_its_last_record(kinesis: FakeKinesis) -> None:
    [number] = kinesis.put(A, aggregate([UserRecord("k", b"%d" % n) for n in range(3)]))
    with opened(source_of(kinesis), Recorder()) as source:
        assert told(source, 3)[of(A)].position == Position(number, 2)


def test_a_shard_that_does_not_respond_does_not_stay_fresh(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    with opened(source_of(kinesis), Recorder()) as source:
        assert told(source, 3)
        away = kinesis.clock.now()
        kinesis.faults["GetRecords", A] = [ReadTimeoutError(endpoint_url="https://kinesis")] * 999
        assert told(source, 30) == {}
        kinesis.faults.clear()
        assert told(source, 30)[of(A)].until > away


def test_a_drained_shard_holds_nothing_back_once_its_children_are_assigned(
    kinesis: FakeKinesis,
) -> None:
    numbers, listener = kinesis.put(A, b"1"), Recorder()
    with opened(source_of(kinesis), listener) as source:
        told(source, 3)
        (child,) = kinesis.reshard((A,), 1)
        found: Told = {}
        while of(A) not in found or found[of(A)].until != FOREVER:
            source.poll(0.1)
            found |= source.horizons()
        assert of(child) in listener.held
        assert found[of(A)].position == Position(numbers[0])
        assert of(A) not in told(source, 10)  # it is said once


def test_a_drained_shard_that_is_sought_again_is_told_again(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    kinesis.reshard((A,), 1)
    with opened(source_of(kinesis), Recorder()) as source:
        assert told(source, 5)[of(A)].until == FOREVER
        source.seek({of(A): None})
        assert told(source, 5)[of(A)].until == FOREVER


def test_a_drained_shard_whose_children_nobody_told_is_not_fresh(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    with opened(source_of(kinesis), Recorder()) as source:
        told(source, 3)
        kinesis.shards[A].closed = True
        assert all(horizon.until != FOREVER for horizon in told(source, 60).values())


def test_a_replay_tells_no_horizons(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    with opened(source_of(kinesis, window=Window()), Recorder()) as source:
        assert told(source, 10) == {}


@pytest.mark.parametrize("behind", [0, 5000])
def test_a_response_without_records_that_says_it_is_behind_claims_no_more(
    kinesis: FakeKinesis, behind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinesis, "millis_behind_nothing", behind)
    with opened(source_of(kinesis), Recorder()) as source:
        horizon = told(source, 3)[of(A)]
    late = kinesis.clock.now() - horizon.until
    assert horizon.position == Position(0)
    assert late >= timedelta(milliseconds=behind) + timedelta(seconds=1)


class Stream:
    """A stream with random producers and resharding, and what its reader has read."""

    def __init__(self, limit: int) -> None:
        self.kinesis = FakeKinesis(FakeClock(), limit=limit)
        self.arrivals: dict[Partition, dict[int, datetime]] = {}
        self.horizons: Told = {}

    def put(self, shard: int, count: int) -> None:
        """Store records in one of the open shards."""
        names = sorted(name for name, own in self.kinesis.shards.items() if not own.closed)
        name = names[shard % len(names)]
        numbers = self.kinesis.put(name, *[b"x"] * count)
        self.arrivals.setdefault(of(name), {}).update(
            dict.fromkeys(numbers, self.kinesis.clock.now())
        )

    def split(self, shard: int) -> None:
        """Split one of the open shards."""
        names = sorted(name for name, own in self.kinesis.shards.items() if not own.closed)
        self.kinesis.reshard((names[shard % len(names)],), 2)

    def is_true(self, told: Mapping[Partition, Horizon], held: set[Partition]) -> None:
        """Check each shard's claim, and what they claim together of the whole stream."""
        for partition, horizon in told.items():
            for number, arrived in self.arrivals.get(partition, {}).items():
                assert number <= horizon.position.number or arrived >= horizon.until
        self.horizons |= told
        if held <= self.horizons.keys():
            fresh = min(self.horizons[p].until for p in held)
            for partition, numbers in self.arrivals.items():
                read = self.horizons.get(partition)
                for number, arrived in numbers.items():
                    assert arrived >= fresh or (read and number <= read.position.number)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.integers(1, 5)),
        st.tuples(st.just("split"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("poll"), st.integers(1, 5), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 30), st.just(0)),
    ),
    max_size=30,
)


@pytest.mark.slow
@given(steps=STEPS, limit=st.sampled_from([1, 2, 100]))
@settings(max_examples=examples(40), deadline=None)
def test_no_claim_is_false_whatever_is_put_split_and_read(
    steps: list[tuple[str, int, int]], limit: int
) -> None:
    stream, listener = Stream(limit), Recorder()
    with opened(source_of(stream.kinesis), listener) as source:
        for what, number, count in [*steps, *[("poll", 5, 0)] * 5]:
            if what == "put":
                stream.put(number, count)
            elif what == "split":
                stream.split(number)
            elif what == "wait":
                stream.kinesis.clock.sleep(number)
            for _ in range(number if what == "poll" else 0):
                source.poll(0.1)
                stream.is_true(source.horizons(), listener.held)
