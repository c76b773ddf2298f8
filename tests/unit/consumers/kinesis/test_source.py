"""The Kinesis source: what it gives, where it starts, whose shards it reads."""

from datetime import timedelta
from itertools import pairwise

import pytest

from consumers.kinesis.kpl import UserRecord
from core.batch import KINESIS, VALUE, Position, Span
from core.merge import merge
from tests.contracts.source_contract import Recorder, opened, rows, values
from tests.support.aggregates import aggregate, chunk, sealed
from tests.support.fake_kinesis import FakeClock, FakeKinesis, fault
from tests.support.kinesis_reading import A, B, drain, everything, flat, of, source_of
from transforms import pin
from transforms.process import decode


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kinesis(clock: FakeClock) -> FakeKinesis:
    return FakeKinesis(clock)


def test_real_looking_sequence_numbers_are_kept_whole(kinesis: FakeKinesis) -> None:
    numbers = kinesis.put(A, b"1", b"2", key="κλειδί")
    (got,) = everything(kinesis, Recorder())
    assert [int(n) for n in got.frame["_sequence"]] == numbers
    assert set(got.frame["_sequence"].str.len_chars()) == {64}
    assert got.frame["_partition_key"].to_list() == ["κλειδί"] * 2
    assert got.frame["_timestamp"].to_list() == [kinesis.clock.now() - timedelta(seconds=40)] * 2
    assert got.spans[of(A)].end == Position(numbers[1], 0)


def test_full_answers_follow_each_other_and_spans_chain(kinesis: FakeKinesis) -> None:
    kinesis.limit = 3
    numbers = kinesis.put(A, *[b"%d" % n for n in range(10)])
    parts = everything(kinesis, Recorder())
    assert [rows([part]) for part in parts] == [3, 3, 3, 1]
    assert merge(parts).spans[of(A)].end == Position(numbers[-1])


@pytest.mark.parametrize("readers", [1, 3])
def test_no_shard_is_asked_more_than_five_times_a_second_by_all_readers(
    kinesis: FakeKinesis, readers: int
) -> None:
    kinesis.limit = 1
    kinesis.put(A, *[b"%d" % n for n in range(30)])
    kinesis.faults["GetRecords", A] = [fault("ProvisionedThroughputExceededException")] * 5
    assert rows(everything(kinesis, Recorder(), readers=readers)) == 30
    asked = [at for operation, _, at in kinesis.calls if operation == "GetRecords"]
    assert min(b - a for a, b in pairwise(asked)) >= readers * 0.2 - 1e-9


@pytest.mark.parametrize("readers", [1, 3])
def test_all_readers_of_a_shard_ask_for_two_megabytes_a_second(
    kinesis: FakeKinesis, readers: int
) -> None:
    kinesis.limit = 3
    kinesis.put(A, *[b"x" * 500_000] * 12)
    assert rows(everything(kinesis, Recorder(), readers=readers)) == 12
    asked = [at for operation, _, at in kinesis.calls if operation == "GetRecords"]
    assert [round(b - a, 6) for a, b in pairwise(asked)][:3] == [readers * 0.75] * 3


def test_an_aggregate_is_split_into_user_records(kinesis: FakeKinesis) -> None:
    (number,) = kinesis.put(A, aggregate([UserRecord("a", b"1"), UserRecord("b", b"2")]))
    (got,) = everything(kinesis, Recorder())
    assert values(got) == [b"1", b"2"]
    assert got.frame["_partition_key"].to_list() == ["a", "b"]
    assert got.frame["_subsequence"].to_list() == [0, 1]
    assert got.spans[of(A)].end == Position(number, 1)


def test_an_aggregate_of_no_records_is_one_record_that_is_quarantined(kinesis: FakeKinesis) -> None:
    empty = sealed(chunk(1, b"k"))
    kinesis.put(A, b'{"ind": 1, "title": "x"}')
    number = kinesis.put(A, empty)[0]
    (got,) = everything(kinesis, Recorder())
    assert got.spans[of(A)] == Span(None, Position(number), 2)
    rejected = decode(got.frame, pin.SCHEMA, KINESIS).rejected
    assert rejected.select(VALUE, "reason").row(-1) == (empty, "invalid_utf8")


def test_a_restart_within_an_aggregate_reads_the_rest_of_it(kinesis: FakeKinesis) -> None:
    users = [UserRecord("k", b"%d" % n) for n in range(4)]
    (number,) = kinesis.put(A, aggregate(users))
    kinesis.put(A, b"after")
    parts = everything(kinesis, Recorder({of(A): Position(number, 1)}))
    assert flat(parts) == [b"2", b"3", b"after"]
    assert merge(parts).spans[of(A)].start == Position(number, 1)


def test_latest_gives_only_what_comes_later(clock: FakeClock) -> None:
    kinesis = FakeKinesis(clock, shards=2)
    kinesis.put(A, b"old")
    kinesis.put(B, b"old")
    (child,) = kinesis.reshard((A,), 1)
    kinesis.put(child, b"old")
    with opened(source_of(kinesis, start="latest"), Recorder()) as source:
        assert source.poll(1) is None
        kinesis.put(child, b"new")
        kinesis.put(B, b"newer")
        assert sorted(map(bytes, filter(None, flat(drain(source, 5))))) == [b"new", b"newer"]


def test_latest_loses_nothing_when_its_first_iterator_expires(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"old")
    kinesis.clock.sleep(1)
    with opened(source_of(kinesis, start="latest"), Recorder()) as source:
        assert source.poll(0.1) is None
        kinesis.put(A, b"new")
        kinesis.clock.sleep(301)
        assert flat(drain(source, 5)) == [b"new"]


def test_only_shards_of_ours_are_read_and_lost_ones_are_revoked(clock: FakeClock) -> None:
    kinesis = FakeKinesis(clock, shards=2)
    kinesis.put(A, b"a")
    kinesis.put(B, b"b")
    mine, listener = {of(A)}, Recorder()
    source = source_of(kinesis, ours=lambda shards: [p for p in shards if p in mine])
    with opened(source, listener):
        assert flat(drain(source, 5)) == [b"a"]
        mine.symmetric_difference_update({of(A), of(B)})
        assert flat(drain(source, 5)) == [b"b"]
    assert listener.lost == [of(A)]
    assert listener.held == {of(B)}


def test_an_answer_on_its_way_during_a_seek_is_dropped(kinesis: FakeKinesis) -> None:
    numbers = kinesis.put(A, b"1", b"2", b"3")
    with opened(source_of(kinesis), Recorder()) as source:
        kinesis.open_gate.clear()
        assert source.poll(0) is None
        source.seek({of(A): Position(numbers[1])})
        kinesis.open_gate.set()
        (got,) = drain(source, 5)
    assert values(got) == [b"3"]
    assert got.spans[of(A)].start == Position(numbers[1])
