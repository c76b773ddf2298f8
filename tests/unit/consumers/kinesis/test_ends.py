"""What verify asks of a stream: each shard to its end, and a doubt where that is not known."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from consumers.kinesis.ends import ANSWER_TIMEOUT_S, End, ends_beyond
from consumers.kinesis.life import milliseconds
from core.batch import READ_TO_END, Partition, Position
from core.errors import SourceError
from tests.support.fake_kinesis import STREAM, FakeClock, FakeKinesis, FakeShard, fault
from tests.support.kinesis_reading import A, B, of

GRACE = timedelta(seconds=30)
AT_THE_END = End()


@pytest.fixture
def kinesis() -> FakeKinesis:
    return FakeKinesis(FakeClock(), shards=2)


def beyond(
    kinesis: FakeKinesis,
    held: dict[str, int],
    tips: dict[str, int] | None = None,
    *,
    latest: bool = False,
) -> dict[str, End]:
    """Return what each shard has beyond the numbers `held`, last read to its end at `tips`."""
    positions = {of(shard): Position(number) for shard, number in held.items()}
    old = kinesis.clock.now() - GRACE
    found = ends_beyond(
        kinesis.client,
        STREAM,
        positions,
        old,
        kinesis.clock,
        lambda partition: (tips or {}).get(partition.id),
        latest=latest,
    )
    return {partition.id: end for partition, end in found.items()}


def test_a_shard_that_was_read_to_its_tip_is_at_its_end(kinesis: FakeKinesis) -> None:
    [a], [b] = kinesis.put(A, b"1"), kinesis.put(B, b"1")
    assert beyond(kinesis, {A: a, B: b}) == {A: AT_THE_END, B: AT_THE_END}


def test_old_records_are_unread_and_young_ones_wait(kinesis: FakeKinesis) -> None:
    [a, *_], [b] = kinesis.put(A, b"1", b"2", b"3"), kinesis.put(B, b"1")
    kinesis.clock.sleep(120)
    kinesis.put(B, b"young")
    assert beyond(kinesis, {A: a, B: b}) == {A: End(unread=2), B: End(young=1)}


def test_a_shard_that_was_never_read_counts_from_its_first_record(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1", b"2")
    kinesis.clock.sleep(120)
    assert beyond(kinesis, {}) == {A: End(unread=2), B: AT_THE_END}


def test_children_are_looked_at_also_while_their_parent_has_not_ended(kinesis: FakeKinesis) -> None:
    """As moto, which never ends a closed shard, or Kinesis in an empty answer before the last."""
    [a] = kinesis.put(A, b"1")
    (child,) = kinesis.reshard((A,), 1)
    kinesis.shards[A].closed = False
    kinesis.put(child, b"2")
    kinesis.clock.sleep(120)
    assert beyond(kinesis, {A: a}) == {A: AT_THE_END, B: AT_THE_END, child: End(unread=1)}


class Sparse(FakeKinesis):
    """Answers that are empty before the tip, as Kinesis gives them over stretches without data."""

    empty = 3

    def get_records(self, **request: Any) -> dict[str, Any]:
        if self.empty:
            self.empty -= 1
            return {
                "Records": [],
                "MillisBehindLatest": 60_000,
                "NextShardIterator": request["ShardIterator"],
            }
        return super().get_records(**request)


def test_an_empty_answer_is_not_the_end_while_the_tip_is_ahead() -> None:
    kinesis = Sparse(FakeClock())
    [a, _] = kinesis.put(A, b"1", b"2")
    kinesis.clock.sleep(120)
    assert beyond(kinesis, {A: a}) == {A: End(unread=1)}


THROTTLED = fault("ProvisionedThroughputExceededException")
REFUSED = fault("AccessDeniedException")
AWAY = EndpointConnectionError(endpoint_url="http://nowhere")


@pytest.mark.parametrize("operation", ["GetRecords", "GetShardIterator"])
@pytest.mark.parametrize("error", [THROTTLED, AWAY], ids=["throttled", "away"])
def test_a_passing_fault_is_outlasted(
    kinesis: FakeKinesis, operation: str, error: Exception
) -> None:
    kinesis.put(A, b"1")
    kinesis.clock.sleep(120)
    kinesis.faults[operation, A] = [error] * 5
    assert beyond(kinesis, {})[A] == End(unread=1)


@pytest.mark.parametrize("error", [THROTTLED, AWAY, REFUSED], ids=["throttled", "away", "rights"])
def test_a_shard_that_does_not_answer_is_a_doubt_and_the_others_are_known(
    kinesis: FakeKinesis, error: Exception
) -> None:
    kinesis.put(B, b"1")
    kinesis.clock.sleep(120)
    kinesis.faults["GetRecords", A] = [error] * 1000
    found = beyond(kinesis, {})
    assert found[B] == End(unread=1)
    assert found[A].doubt.endswith("whether there are unread records")
    assert A in found[A].doubt
    assert kinesis.clock.monotonic() < 120 + 2 * ANSWER_TIMEOUT_S


def test_shards_that_cannot_be_listed_are_an_error(kinesis: FakeKinesis) -> None:
    kinesis.faults["ListShards", ""] = [REFUSED]
    with pytest.raises(SourceError, match="AccessDenied"):
        beyond(kinesis, {})


def test_an_expired_iterator_is_replaced(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    kinesis.clock.sleep(120)
    kinesis.faults["GetRecords", A] = [fault("ExpiredIteratorException")]
    assert beyond(kinesis, {})[A] == End(unread=1)


def ago(kinesis: FakeKinesis, hours: float) -> int:
    """Return the time `hours` ago in milliseconds."""
    return milliseconds(kinesis.clock.now() - timedelta(hours=hours))


@pytest.mark.parametrize("left", [0, 2])
def test_a_position_whose_record_expired_is_a_doubt_unless_the_end_was_read_lately(
    kinesis: FakeKinesis, left: int
) -> None:
    [a, *_] = kinesis.put(A, b"1", b"2", b"3", b"4")
    kinesis.clock.sleep(120)
    kinesis.shards[A].records[: 4 - left] = []
    found = beyond(kinesis, {A: a})[A]
    assert found.unread == left
    assert "whether some expired unread" in found.doubt
    assert beyond(kinesis, {A: a}, {A: ago(kinesis, 22)})[A] == End(unread=left)
    assert beyond(kinesis, {A: a}, {A: ago(kinesis, 24)})[A].doubt


def test_a_position_of_another_stream_is_wrong(kinesis: FakeKinesis) -> None:
    [a] = kinesis.put(A, b"1")
    assert "another stream" in beyond(kinesis, {A: a + 1000})[A].wrong


def test_a_position_that_kinesis_refuses_is_wrong(kinesis: FakeKinesis) -> None:
    kinesis.faults["GetShardIterator", A] = [fault("InvalidArgumentException", "GetShardIterator")]
    assert "does not know the table's position" in beyond(kinesis, {A: 7})[A].wrong


def test_a_shard_without_a_position_is_a_doubt_where_reading_starts_at_the_latest(
    kinesis: FakeKinesis,
) -> None:
    [b] = kinesis.put(B, b"1")
    (child,) = kinesis.reshard((B,), 1)
    kinesis.put(child, b"2")
    kinesis.clock.sleep(120)
    found = beyond(kinesis, {B: b}, latest=True)
    assert "`start` is latest" in found[A].doubt
    assert found[child] == End(unread=1)


def test_with_latest_a_shard_counts_from_when_it_was_last_read_to_its_end(
    kinesis: FakeKinesis,
) -> None:
    kinesis.put(A, b"1", b"2")
    kinesis.clock.sleep(120)
    tip = ago(kinesis, 0)
    assert beyond(kinesis, {}, {A: tip}, latest=True)[A] == AT_THE_END
    kinesis.put(A, b"3")
    kinesis.clock.sleep(120)
    assert beyond(kinesis, {}, {A: tip}, latest=True)[A] == End(unread=1)


def test_a_child_may_have_lost_records_since_its_parent_was_last_seen_open(
    kinesis: FakeKinesis,
) -> None:
    (child,) = kinesis.reshard((A,), 1)
    assert beyond(kinesis, {}, {A: ago(kinesis, 25)})[child].doubt
    assert beyond(kinesis, {}, {A: ago(kinesis, 5)})[child] == AT_THE_END
    assert beyond(kinesis, {}, {A: READ_TO_END, child: ago(kinesis, 25)})[child].doubt


def test_an_expired_shard_that_was_read_to_its_end_is_no_doubt(kinesis: FakeKinesis) -> None:
    [a] = kinesis.put(A, b"1")
    kinesis.reshard((A,), 1)
    del kinesis.shards[A]
    assert A not in beyond(kinesis, {A: a}, {A: READ_TO_END})


@pytest.mark.parametrize("begun", [False, True])
def test_an_expired_shard_is_a_doubt_until_its_children_are_read(
    kinesis: FakeKinesis, *, begun: bool
) -> None:
    [a] = kinesis.put(A, b"1")
    (child,) = kinesis.reshard((A,), 1)
    [c] = kinesis.put(child, b"2")
    del kinesis.shards[A]
    found = beyond(kinesis, {A: a, child: c} if begun else {A: a})
    assert ("read to its end" in found[A].doubt if A in found else False) is not begun


def test_a_stream_with_none_of_the_shards_of_the_table_is_a_doubt() -> None:
    kinesis = FakeKinesis(FakeClock(), shards=0)
    kinesis.shards["shardId-000000000007"] = FakeShard()
    assert "read to its end" in beyond(kinesis, {A: 5})[A].doubt


def test_positions_of_another_stream_are_left_alone(kinesis: FakeKinesis) -> None:
    other = {Partition("other", A): Position(5)}
    found = ends_beyond(kinesis.client, STREAM, other, kinesis.clock.now(), kinesis.clock)
    assert set(found) == {of(A), of(B)}
