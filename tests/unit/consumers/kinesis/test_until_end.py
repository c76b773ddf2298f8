"""A stream that is read to its end: what arrived before it was opened, children included."""

from email.utils import format_datetime
from typing import Any

import pytest

from consumers.kinesis.source import KinesisSource
from consumers.window import Window
from tests.contracts.source_contract import Recorder, opened
from tests.support.fake_kinesis import STREAM, FakeClock, FakeKinesis
from tests.support.kinesis_reading import A, drain, flat, source_of


class Reluctant(FakeKinesis):
    """Closed shards that say some times that nothing follows before they say that they end."""

    times = 3

    def get_records(self, **request: Any) -> dict[str, Any]:
        """Give a further iterator at the end of a closed shard, as Kinesis may."""
        answer = super().get_records(**request)
        if answer["NextShardIterator"] is None and self.times:
            self.times -= 1
            return {**answer, "NextShardIterator": request["ShardIterator"], "ChildShards": []}
        return answer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_children_of_a_closed_shard_are_read_though_its_tip_was_seen_before_its_end(
    clock: FakeClock,
) -> None:
    kinesis = Reluctant(clock)
    kinesis.put(A, b"1")
    left, _ = kinesis.reshard((A,), 2)
    kinesis.put(left, b"2")
    (last,) = kinesis.reshard((left,), 1)
    kinesis.put(last, b"3")
    with opened(source_of(kinesis, until_end=True), Recorder()) as source:
        assert flat(drain(source)) == [b"1", b"2", b"3"]
        assert source.exhausted


def test_a_stream_that_never_rests_has_an_end(clock: FakeClock) -> None:
    kinesis = FakeKinesis(clock)
    kinesis.put(A, b"first")
    with opened(source_of(kinesis, until_end=True), Recorder()) as source:
        for _ in range(60):
            kinesis.put(A, b"later")
            source.poll(1.0)
            if source.exhausted:
                break
        assert source.exhausted
        assert clock.monotonic() < 20


def test_a_shard_without_records_has_an_end(clock: FakeClock) -> None:
    with opened(source_of(FakeKinesis(clock, shards=3), until_end=True), Recorder()) as source:
        assert drain(source) == []
        assert source.exhausted


@pytest.mark.parametrize("window", [{"until_end": True}, {"window": Window()}])
def test_a_clock_that_is_slow_does_not_end_it_early(window: dict[str, Any]) -> None:
    theirs = FakeClock()
    theirs.seconds = 3600.0
    kinesis = FakeKinesis(theirs, limit=1)
    kinesis.date = format_datetime(theirs.now(), usegmt=True)
    kinesis.put(A, b"1", b"2", b"3")
    slow = KinesisSource(kinesis.client, STREAM, clock=FakeClock(), **window)
    with opened(slow, Recorder()) as source:
        assert flat(drain(source)) == [b"1", b"2", b"3"]
        assert source.exhausted
