"""The Kinesis source: reshards, faults, restarts and bounded reading, on a fake and on moto."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from structlog.testing import capture_logs

from consumers.aggregation import UserRecord
from consumers.kinesis import CLIENT_CONFIG, KinesisSource
from consumers.kinesis_ends import newest_unread
from consumers.kinesis_faults import PATIENCE
from consumers.kinesis_window import Window
from pinpip.batch import KINESIS, VALUE, Partition, Position, Records, merge
from pinpip.clock import SystemClock
from pinpip.errors import RecordsExpired, SourceError
from tests.contracts.source_contract import Recorder, ends, poll_until, rows, values
from tests.support.aggregates import aggregate
from tests.support.fake_kinesis import STREAM, FakeClock, FakeKinesis, fault

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

A, B = "shardId-000000000000", "shardId-000000000001"
ENDPOINT = "http://kinesis.invalid"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kinesis(clock: FakeClock) -> FakeKinesis:
    return FakeKinesis(clock)


def source_of(kinesis: FakeKinesis, **options: Any) -> KinesisSource:
    return KinesisSource(kinesis.client, STREAM, clock=kinesis.clock, **options)


@contextmanager
def opened(source: KinesisSource, listener: Recorder) -> Iterator[KinesisSource]:
    with closing(source):
        source.open(listener)
        yield source


def of(shard: str) -> Partition:
    return Partition(STREAM, shard)


def drain(source: KinesisSource, seconds: float = 40.0) -> list[Records]:
    """What comes within `seconds` of the fake clock."""
    clock = source._clock
    deadline, parts = clock.monotonic() + seconds, list[Records]()
    while clock.monotonic() < deadline and not source.exhausted:
        part = source.poll(1.0)
        parts += [part] if part is not None else []
    return parts


def everything(kinesis: FakeKinesis, listener: Recorder, **options: Any) -> list[Records]:
    with opened(source_of(kinesis, **options), listener) as source:
        return drain(source)


def flat(parts: list[Records]) -> list[bytes | None]:
    return [value for part in parts for value in values(part)]


def test_real_looking_sequence_numbers_are_kept_whole(kinesis: FakeKinesis) -> None:
    numbers = kinesis.put(A, b"1", b"2", key="κλειδί")
    (got,) = everything(kinesis, Recorder())
    assert [int(n) for n in got.frame["_sequence"]] == numbers
    assert set(got.frame["_sequence"].str.len_chars()) == {64}
    assert got.frame["_partition_key"].to_list() == ["κλειδί"] * 2
    assert got.frame["_timestamp"].to_list() == [kinesis.clock.now() - timedelta(seconds=40)] * 2
    assert got.spans[of(A)].end == Position(numbers[1], 0)


def test_a_sequence_number_of_more_than_64_digits_stops_the_source(kinesis: FakeKinesis) -> None:
    kinesis._next = 10**64
    kinesis.put(A, b"1")
    with pytest.raises(SourceError, match=f"{STREAM}/{A}: a sequence number has more than 64"):
        everything(kinesis, Recorder())


def test_full_answers_follow_each_other_and_spans_chain(kinesis: FakeKinesis) -> None:
    kinesis.limit = 3
    numbers = kinesis.put(A, *[b"%d" % n for n in range(10)])
    parts = everything(kinesis, Recorder())
    assert [rows([part]) for part in parts] == [3, 3, 3, 1]
    assert merge(parts).spans[of(A)].end == Position(numbers[-1])


def test_no_shard_is_asked_more_than_five_times_a_second(kinesis: FakeKinesis) -> None:
    kinesis.limit = 1
    kinesis.put(A, *[b"%d" % n for n in range(30)])
    kinesis.faults["GetRecords", A] = [fault("ProvisionedThroughputExceededException")] * 5
    assert rows(everything(kinesis, Recorder())) == 30
    asked = [at for operation, _, at in kinesis.calls if operation == "GetRecords"]
    assert min(b - a for a, b in pairwise(asked)) >= 0.2 - 1e-9


def test_an_aggregate_is_split_into_user_records(kinesis: FakeKinesis) -> None:
    (number,) = kinesis.put(A, aggregate([UserRecord("a", b"1"), UserRecord("b", b"2")]))
    (got,) = everything(kinesis, Recorder())
    assert values(got) == [b"1", b"2"]
    assert got.frame["_partition_key"].to_list() == ["a", "b"]
    assert got.frame["_subsequence"].to_list() == [0, 1]
    assert got.spans[of(A)].end == Position(number, 1)


def test_a_restart_within_an_aggregate_reads_the_rest_of_it(kinesis: FakeKinesis) -> None:
    users = [UserRecord("k", b"%d" % n) for n in range(4)]
    (number,) = kinesis.put(A, aggregate(users))
    kinesis.put(A, b"after")
    parts = everything(kinesis, Recorder({of(A): Position(number, 1)}))
    assert flat(parts) == [b"2", b"3", b"after"]
    assert merge(parts).spans[of(A)].start == Position(number, 1)


def test_a_closed_parent_is_drained_before_its_children(kinesis: FakeKinesis) -> None:
    kinesis.limit = 2
    kinesis.put(A, b"1", b"2", b"3", b"4", b"5")
    left, right = kinesis.reshard((A,), 2)
    kinesis.put(left, b"6")
    kinesis.put(right, b"7")
    listener = Recorder()
    with opened(source_of(kinesis), listener) as source:
        assert source.poll(1) is not None
        assert listener.held == {of(A)}
        rest = flat(drain(source))
    assert rest[:3] == [b"3", b"4", b"5"]
    assert sorted(map(bytes, filter(None, rest[3:]))) == [b"6", b"7"]
    assert listener.held == {of(A), of(left), of(right)}


def test_a_merged_shard_waits_for_both_parents(clock: FakeClock) -> None:
    kinesis = FakeKinesis(clock, shards=2)
    kinesis.limit = 1
    kinesis.put(A, b"a")
    kinesis.put(B, b"b1", b"b2", b"b3")
    (merged,) = kinesis.reshard((A, B), 1)
    kinesis.put(merged, b"c")
    assert flat(everything(kinesis, Recorder()))[-1] == b"c"


def test_a_reshard_is_seen_while_reading(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    with opened(source_of(kinesis, start="latest"), Recorder()) as source:
        assert source.poll(1) is None
        kinesis.put(A, b"2")
        (child,) = kinesis.reshard((A,), 1)
        kinesis.put(child, b"3")
        assert flat(drain(source, 5)) == [b"2", b"3"]


def test_a_shard_that_appears_from_nowhere_is_found_by_listing_again(kinesis: FakeKinesis) -> None:
    with opened(source_of(kinesis), Recorder()) as source:
        assert source.poll(1) is None
        kinesis.shards[B] = type(kinesis.shards[A])()
        kinesis.put(B, b"1")
        assert flat(drain(source, 31)) == [b"1"]


def test_after_a_restart_a_finished_parent_lets_its_children_start(kinesis: FakeKinesis) -> None:
    numbers = kinesis.put(A, b"1", b"2")
    (child,) = kinesis.reshard((A,), 1)
    kinesis.put(child, b"3")
    assert flat(everything(kinesis, Recorder({of(A): Position(numbers[-1])}))) == [b"3"]


def test_children_of_an_expired_parent_start_at_once(kinesis: FakeKinesis) -> None:
    (child,) = kinesis.reshard((A,), 1)
    kinesis.put(child, b"3")
    del kinesis.shards[A]
    assert flat(everything(kinesis, Recorder())) == [b"3"]


def test_a_shard_that_expires_while_it_is_read_is_named_and_left(kinesis: FakeKinesis) -> None:
    (child,) = kinesis.reshard((A,), 1)
    kinesis.put(child, b"3")
    with opened(source_of(kinesis), Recorder()) as source, capture_logs() as logs:
        del kinesis.shards[A]
        assert flat(drain(source, 5)) == [b"3"]
    assert [(log["log_level"], A in log["where"]) for log in logs] == [("warning", True)]


def test_a_parent_sought_back_is_read_again_before_its_children(kinesis: FakeKinesis) -> None:
    (first, *_) = kinesis.put(A, b"1", b"2")
    (child,) = kinesis.reshard((A,), 1)
    kinesis.put(child, b"3")
    with opened(source_of(kinesis), Recorder()) as source:
        assert flat(drain(source, 5)) == [b"1", b"2", b"3"]
        kinesis.put(child, b"4")
        source.seek({of(A): Position(first)})
        assert flat(drain(source, 5)) == [b"2", b"4"]


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


@pytest.mark.parametrize(
    "error",
    [
        fault("ProvisionedThroughputExceededException"),
        fault("KMSThrottlingException"),
        fault("ExpiredIteratorException"),
        fault("InternalFailure", status=500),
        fault("ServiceUnavailable", status=503),
        EndpointConnectionError(endpoint_url=ENDPOINT),
        ReadTimeoutError(endpoint_url=ENDPOINT),
    ],
    ids=str,
)
@pytest.mark.parametrize("operation", ["GetRecords", "GetShardIterator"])
def test_a_passing_fault_costs_nothing_but_time(
    kinesis: FakeKinesis, error: Exception, operation: str
) -> None:
    kinesis.limit = 1
    kinesis.put(A, b"1", b"2", b"3")
    with opened(source_of(kinesis), Recorder()) as source:
        kinesis.faults[operation, A] = [error] * 3
        assert flat(drain(source, 40)) == [b"1", b"2", b"3"]
    assert not kinesis.faults[operation, A]


def test_other_shards_go_on_while_one_is_throttled(clock: FakeClock) -> None:
    kinesis = FakeKinesis(clock, shards=2)
    kinesis.faults["GetRecords", A] = [fault("ProvisionedThroughputExceededException")] * 1000
    kinesis.put(A, b"a")
    kinesis.put(B, b"b")
    with opened(source_of(kinesis), Recorder()) as source:
        assert flat(drain(source, 60)) == [b"b"]


def test_a_fault_that_lasts_stops_the_source(kinesis: FakeKinesis) -> None:
    kinesis.faults["GetRecords", A] = [fault("ProvisionedThroughputExceededException")] * 5000
    with (
        opened(source_of(kinesis), Recorder()) as source,
        pytest.raises(SourceError, match=f"{STREAM} in eu-north-1, {A}: Provisioned"),
    ):
        drain(source, 2 * PATIENCE)
    assert PATIENCE < kinesis.clock.monotonic() < PATIENCE + 30


def test_an_iterator_that_expired_during_a_long_write_is_replaced(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    with opened(source_of(kinesis), Recorder()) as source:
        assert flat(drain(source, 2)) == [b"1"]
        kinesis.clock.sleep(400)
        kinesis.put(A, b"2")
        assert flat(drain(source, 5)) == [b"2"]


def test_the_listing_may_be_throttled_when_the_source_opens(kinesis: FakeKinesis) -> None:
    kinesis.faults["ListShards", ""] = [fault("LimitExceededException", "ListShards")] * 2
    kinesis.put(A, b"1")
    assert flat(everything(kinesis, Recorder())) == [b"1"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (fault("ResourceNotFoundException"), "create the stream"),
        (fault("AccessDeniedException"), "allow kinesis:ListShards"),
        (fault("UnrecognizedClientException"), "give AWS credentials"),
        (NoCredentialsError(), "give AWS credentials"),
        (EndpointConnectionError(endpoint_url=ENDPOINT), "aws.endpoint_url"),
    ],
    ids=str,
)
def test_a_stream_that_cannot_be_read_is_said_at_once(
    kinesis: FakeKinesis, error: Exception, said: str
) -> None:
    kinesis.faults["ListShards", ""] = [error]
    with closing(source_of(kinesis)) as source:
        with pytest.raises(SourceError, match=f"stream {STREAM} in eu-north-1") as caught:
            source.open(Recorder())
        assert said in caught.value.hint
        assert kinesis.clock.monotonic() == 0


def test_a_stream_deleted_while_it_is_read_stops_the_source(kinesis: FakeKinesis) -> None:
    with opened(source_of(kinesis), Recorder()) as source:
        assert source.poll(1) is None
        gone = fault("ResourceNotFoundException")
        kinesis.faults["GetRecords", A] = [gone]
        kinesis.faults["ListShards", ""] = [gone]
        with pytest.raises(SourceError, match=STREAM):
            drain(source, 5)


def test_access_taken_away_stops_the_source(kinesis: FakeKinesis) -> None:
    with opened(source_of(kinesis), Recorder()) as source:
        kinesis.faults["GetRecords", A] = [fault("AccessDeniedException")]
        with pytest.raises(SourceError, match="AccessDenied"):
            drain(source, 5)


def test_a_position_that_kinesis_does_not_know_stops_the_source(kinesis: FakeKinesis) -> None:
    kinesis.faults["GetShardIterator", A] = [fault("InvalidArgumentException", "GetShardIterator")]
    with pytest.raises(RecordsExpired, match="does not know the table's position"):
        everything(kinesis, Recorder({of(A): Position(5)}))


def test_an_expired_record_at_the_position_is_named(kinesis: FakeKinesis) -> None:
    numbers = kinesis.put(A, b"1", b"2", b"3")
    del kinesis.shards[A].records[:2]
    with capture_logs() as logs:
        assert flat(everything(kinesis, Recorder({of(A): Position(numbers[0])}))) == [b"3"]
    assert [(log["log_level"], log["position"]) for log in logs] == [("warning", numbers[0])]


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
    window = Window(start + timedelta(minutes=2), start + timedelta(minutes=4))
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


def test_what_lies_unread_beyond_the_positions_is_counted(clock: FakeClock) -> None:
    kinesis = FakeKinesis(clock, shards=2)
    numbers = kinesis.put(A, b"1", b"2", b"3")
    (last,) = kinesis.put(B, b"1")
    clock.sleep(60)
    kinesis.put(B, b"young")
    old = clock.now() - timedelta(seconds=30)
    held = {of(A): Position(numbers[0]), of(B): Position(last)}
    assert newest_unread(kinesis.client, STREAM, held, old, clock) == {of(A): 2}
    held[of(A)] = Position(numbers[-1])
    assert newest_unread(kinesis.client, STREAM, held, old, clock) == {}
    assert newest_unread(kinesis.client, STREAM, {}, old, clock) == {of(A): 3, of(B): 1}


class World:
    """A stream under reshards and a table that remembers every row; for Hypothesis."""

    def __init__(self) -> None:
        self.kinesis = FakeKinesis(FakeClock(), shards=2, limit=3)
        self.stored: dict[str, list[bytes]] = {}
        self.table: list[tuple[str, bytes]] = []
        self.listener = Recorder()
        self.source = source_of(self.kinesis)
        self.source.open(self.listener)

    def put(self) -> None:
        """One plain record and one aggregate on each open shard."""
        for name in [n for n, shard in self.kinesis.shards.items() if not shard.closed]:
            had = self.stored.setdefault(name, [])
            fresh = [b"%s %d" % (name.encode(), len(had) + n) for n in range(3)]
            packed = aggregate([UserRecord("k", value) for value in fresh[1:]])
            self.kinesis.put(name, fresh[0], packed)
            had += fresh

    def split(self) -> None:
        """The first open shard becomes two."""
        name = next(n for n, shard in self.kinesis.shards.items() if not shard.closed)
        self.kinesis.reshard((name,), 2)

    def unite(self) -> None:
        """Two open shards become one."""
        names = [n for n, shard in self.kinesis.shards.items() if not shard.closed]
        if len(names) > 1:
            self.kinesis.reshard((names[0], names[1]), 1)

    def poll(self) -> None:
        """Read and write."""
        part = self.source.poll(0.3)
        if part is not None:
            shards = part.frame["_shard"].to_list()
            self.table += zip(shards, part.frame[VALUE].to_list(), strict=True)
            self.listener.positions |= {p: span.end for p, span in part.spans.items()}

    def crash(self) -> None:
        """Read, lose it, and start again at the table's positions."""
        self.source.poll(0.3)
        self.source.close()
        self.source = source_of(self.kinesis)
        self.source.open(self.listener)

    def fail(self) -> None:
        """Every shard's next call fails."""
        for name in self.kinesis.shards:
            self.kinesis.faults["GetRecords", name] = [fault("ExpiredIteratorException")]

    def sleep(self) -> None:
        """Long enough for iterators to expire."""
        self.kinesis.clock.sleep(301)

    def finish(self) -> None:
        """Restart, read until everything stored is there, and a little longer."""
        self.crash()
        wanted, patience = sum(map(len, self.stored.values())), self.kinesis.clock.monotonic() + 600
        while len(self.table) < wanted and self.kinesis.clock.monotonic() < patience:
            self.poll()
        for _ in range(5):
            self.poll()
        self.source.close()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["put", "split", "unite", "poll", "crash", "fail", "sleep"])))
def test_whatever_happens_each_record_is_read_once_and_in_order(steps: list[str]) -> None:
    world = World()
    for step in ["put", *steps, "put"]:
        getattr(world, step)()
    world.finish()
    by_shard: dict[str, list[bytes]] = {}
    for shard, value in world.table:
        by_shard.setdefault(shard, []).append(value)
    assert by_shard == world.stored
    written = [shard for shard, _ in world.table]
    for name, child in world.kinesis.shards.items():
        for parent in set(child.parents) & set(written) if name in written else ():
            last = len(written) - 1 - written[::-1].index(parent)
            assert last < written.index(name)


@pytest.fixture
def moto_client() -> Iterator["KinesisClient"]:
    with mock_aws():
        client = boto3.client("kinesis", "us-east-1", config=CLIENT_CONFIG)
        client.create_stream(StreamName=STREAM, ShardCount=1)
        yield client
        client.close()


def inject(client: "KinesisClient", operation: str, codes: list[str]) -> None:
    """Answer the next calls of `operation` with these error codes."""

    def answer(**_: Any) -> Any:
        if not codes:
            return None
        error = {"Error": {"Code": codes.pop(0), "Message": "injected"}}
        response = type("Response", (), {"status_code": 400})()
        return response, error | {"ResponseMetadata": {"HTTPStatusCode": 400}}

    client.meta.events.register(f"before-call.kinesis.{operation}", answer)


def put(client: "KinesisClient", *data: bytes) -> None:
    for n, value in enumerate(data):
        client.put_record(StreamName=STREAM, Data=value, PartitionKey=f"key {n}")


def test_boto_errors_are_understood_as_boto_raises_them(moto_client: "KinesisClient") -> None:
    put(moto_client, b"1", b"2")
    codes = ["ExpiredIteratorException", "ProvisionedThroughputExceededException"]
    inject(moto_client, "GetRecords", codes)
    with opened(KinesisSource(moto_client, STREAM, clock=SystemClock()), Recorder()) as source:
        parts = poll_until(source, lambda parts: rows(parts) >= 2)
    assert flat(parts) == [b"1", b"2"]
    assert codes == []


def test_the_boto_client_does_not_retry_by_itself(moto_client: "KinesisClient") -> None:
    codes = ["ProvisionedThroughputExceededException"] * 2
    inject(moto_client, "ListShards", codes)
    with pytest.raises(moto_client.exceptions.ClientError):
        moto_client.list_shards(StreamName=STREAM)
    assert len(codes) == 1


def test_a_missing_stream_is_named_with_its_region(moto_client: "KinesisClient") -> None:
    with closing(KinesisSource(moto_client, "nowhere", clock=SystemClock())) as source:
        with pytest.raises(SourceError, match="stream nowhere in us-east-1") as caught:
            source.open(Recorder())
        assert "create the stream" in caught.value.hint


def test_an_unreachable_endpoint_is_said_at_once() -> None:
    client = boto3.client(
        "kinesis",
        "us-east-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="x",
        aws_secret_access_key="x",  # noqa: S106  # nobody listens there
        config=CLIENT_CONFIG,
    )
    with closing(KinesisSource(client, STREAM, clock=SystemClock())) as source:
        with pytest.raises(SourceError, match="no answer") as caught:
            source.open(Recorder())
        assert "aws.endpoint_url" in caught.value.hint
    client.close()


def test_children_of_a_split_on_moto_are_announced_once_it_ends(
    moto_client: "KinesisClient",
) -> None:
    listener = Recorder()
    with opened(KinesisSource(moto_client, STREAM, clock=SystemClock()), listener) as source:
        moto_client.split_shard(StreamName=STREAM, ShardToSplit=A, NewStartingHashKey=str(2**127))
        assert source.poll(0.1) is None
        assert listener.held == {of(A)}
        end_closed_shards(moto_client)
        poll_until(source, lambda _: len(listener.held) > 1)
    assert listener.held == {of(A), of(B), of("shardId-000000000002")}


def end_closed_shards(client: "KinesisClient") -> None:
    """The next answer is the last of its shard: moto never ends a closed shard by itself."""

    def end(parsed: dict[str, Any], **_: Any) -> None:
        parsed["NextShardIterator"] = None
        client.meta.events.unregister("after-call.kinesis.GetRecords", end)

    client.meta.events.register("after-call.kinesis.GetRecords", end)


def test_moto_replays_a_window_of_time(moto_client: "KinesisClient") -> None:
    put(moto_client, b"1", b"2")
    clock = SystemClock()
    window = Window(since=clock.now() - timedelta(hours=1))
    with opened(
        KinesisSource(moto_client, STREAM, clock=clock, window=window), Recorder()
    ) as source:
        parts = poll_until(source, lambda _: source.exhausted)
    assert flat(parts) == [b"1", b"2"]
    assert parts[0].coordinates is KINESIS
