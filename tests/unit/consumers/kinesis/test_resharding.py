"""Parents are read before their children, whatever happens in between."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from consumers.kinesis.kpl import UserRecord
from core.batch import VALUE, Position
from tests.contracts.source_contract import Recorder, opened
from tests.support.aggregates import aggregate
from tests.support.examples import examples
from tests.support.fake_kinesis import FakeClock, FakeKinesis, fault
from tests.support.kinesis_reading import A, B, drain, everything, flat, of, source_of


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def kinesis(clock: FakeClock) -> FakeKinesis:
    return FakeKinesis(clock)


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


def test_the_last_answer_names_the_children_while_listing_fails(kinesis: FakeKinesis) -> None:
    (child,) = kinesis.reshard((A,), 1)
    grandchildren = kinesis.reshard((child,), 2)
    held = {name: kinesis.shards.pop(name) for name in [child, *grandchildren]}
    with opened(source_of(kinesis), Recorder()) as source:
        kinesis.shards |= held
        kinesis.put(child, b"1")
        kinesis.put(grandchildren[1], b"2")
        kinesis.faults["ListShards", ""] = [fault("LimitExceededException")] * 1000
        assert flat(drain(source, 10)) == [b"1", b"2"]


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


class World:
    """A stream under reshards and a table that remembers every row; for Hypothesis."""

    def __init__(self) -> None:
        self.kinesis = FakeKinesis(FakeClock(), shards=2, limit=3)
        self.stored: dict[str, list[bytes]] = {}
        self.table: list[tuple[str, bytes]] = []
        self.listener = Recorder()
        self._open()

    def _open(self) -> None:
        self.source = source_of(self.kinesis)
        self.listener.starts(self.source)
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
        """Split the first open shard into two."""
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
        self._open()

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


@settings(max_examples=examples(40), deadline=None)
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
