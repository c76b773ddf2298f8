"""Records of a stream that may have expired unread: an error, or a gap that the table keeps."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from audit.verify import snapshots
from consumers.engine.loop import Loop
from consumers.kinesis.begins import Beginnings
from consumers.kinesis.source import KinesisSource
from consumers.kinesis.tips import Tips
from core import aws
from core.batch import Batch, Note, Position, Records
from core.errors import RecordsExpired
from core.observer import Unobserved
from pinpip.pipelines import limits_of, process_of, sinks_of, tables_of
from sinks.delta import positions
from sinks.parquet.sink import ParquetSink
from tests.support.archives import change_pipeline
from tests.support.aws import TestAws
from tests.support.commands import invoke
from tests.support.examples import examples
from tests.support.fake_kinesis import STREAM, FakeClock, FakeKinesis, fault
from tests.support.kinesis_reading import A, B, of
from tests.support.memory import LazyExecutor
from tests.support.processes import Home, kinesis_home, payloads


class Lake:
    """A stream that forgets, and a table of its records, on one clock."""

    def __init__(self, folder: Path, shards: int) -> None:
        self.kinesis = FakeKinesis(FakeClock(), shards)
        self.home: Home = kinesis_home(folder, TestAws("http://127.0.0.1:9"), STREAM)
        self._sent = 0

    def put(self, shard: str, count: int = 1) -> None:
        """Store so many records."""
        self.kinesis.put(shard, *payloads(count, since=self._sent))
        self._sent += count

    def consume(
        self,
        seconds: float = 4.0,
        *,
        accept_gap: bool = False,
        between: Sequence[float] = (),
    ) -> int:
        """Run a consumer for so long and stop it; how many records it has read.

        `between`: hours that pass, after each of which it runs for so long again.
        """
        config, clock = self.home.config, self.kinesis.clock
        process: Callable[[Records], Batch] = process_of(config.pipeline("user"), keep_values=False)
        source = KinesisSource(self.kinesis.client, STREAM, clock=clock, accept_gap=accept_gap)
        sinks = sinks_of(config, "user", process, clock)
        executor = LazyExecutor()
        written = 0

        def count(batch: Batch) -> None:
            nonlocal written
            written += batch.raw.height

        loop = Loop(
            source, process, sinks, limits_of(config), clock, executor, Unobserved(clock, count)
        )
        source.open(loop)
        try:
            for hours in (*between, 0):
                until = clock.monotonic() + seconds
                while clock.monotonic() < until:
                    loop.run_once()
                    executor.run()
                    clock.sleep(0.01)
                self.kinesis.pass_time(hours)
            loop.finish()
        finally:
            source.close()
        return written

    def consumed(self) -> tuple[int, bool]:
        """As `consume`, with a gap accepted if need be; whether there was one."""
        try:
            return self.consume(), False
        except RecordsExpired:
            return self.consume(accept_gap=True), True

    def told(self) -> dict[str, Any]:
        """Return what verify finds and what it reports as unknown."""
        return self.home.examined(30.0)


def test_what_an_archive_lacks_behind_a_table_that_was_read_to_its_end_may_have_expired(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks = [{"delta": "user"}, {"parquet": str(tmp_path / "archive")}]
    change_pipeline(lake.home, sinks=sinks)
    lake.put(A, 1)
    lake.consume()
    lake.put(A, 3)
    lake.kinesis.pass_time(20)
    with monkeypatch.context() as patch:
        patch.setattr(ParquetSink, "close", lambda _: None)  # as kill -9: what is held is gone
        assert lake.consume() == 3
    lake.kinesis.pass_time(5)
    lake.put(A)
    with pytest.raises(RecordsExpired):
        lake.consume()
    assert lake.consume(accept_gap=True) == 1


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    made = Lake(tmp_path, shards=2)
    monkeypatch.setattr(aws, "client", lambda *_: made.kinesis)
    monkeypatch.setattr("pinpip.verify.examine.SystemClock", lambda: made.kinesis.clock)
    return made


def doubts(tree: dict[str, Any]) -> list[str]:
    return [f"{row['where']}: {row['detail']}" for row in tree["unknown"]]


def is_proven(tree: dict[str, Any]) -> bool:
    return not tree["findings"] and not tree["unknown"]


def test_a_consumer_that_was_away_for_longer_than_records_are_kept_stops(lake: Lake) -> None:
    lake.put(A, 3)
    assert lake.consume() == 3
    lake.put(A, 5)
    lake.kinesis.pass_time(25)
    lake.put(A, 2)
    with pytest.raises(RecordsExpired, match="records may have expired unread") as raised:
        lake.consume()
    assert "last read to its end at 2024-05-01T12:00" in raised.value.message
    assert "24 hours" in raised.value.message
    assert "--accept-gap" in raised.value.hint


def test_verify_does_not_know_what_a_consumer_missed_that_was_away(lake: Lake) -> None:
    lake.put(A, 3)
    lake.consume()
    assert is_proven(lake.told())
    lake.put(A, 5)
    lake.kinesis.pass_time(25)
    found = doubts(lake.told())
    assert len(found) == 2
    assert all("whether some expired unread" in doubt for doubt in found)


def test_an_accepted_gap_is_named_for_ever_and_accepted_once(lake: Lake) -> None:
    lake.put(A, 3)
    lake.consume()
    lake.put(A, 5)
    lake.kinesis.pass_time(25)
    lake.put(A, 2)
    with capture_logs() as logs:
        assert lake.consume(accept_gap=True) == 2
    assert "accepted_expired_records" in {log["event"] for log in logs}
    for _ in range(2):
        tree = lake.told()
        assert is_proven(tree)
        assert tree["accepted_gaps"] == 2  # the silent shard's as well: nobody can tell
        lake.put(A)
        assert lake.consume() == 1
    [shown] = json.loads(invoke(lake.home, "status", "--json").stdout)
    assert [row["accepted_gaps"] for row in shown["partitions"]] == [1, 1]
    said = invoke(lake.home, "verify", "--grace", "30").stdout.splitlines()[-1]
    assert "2 stretches of shards may have expired unread (accepted)" in said


def test_an_idle_shard_is_not_taken_for_an_absent_consumer(lake: Lake) -> None:
    lake.put(A, 3)
    lake.consume()
    lake.consume(between=[20, 20, 20])
    lake.kinesis.pass_time(20)
    assert is_proven(lake.told())
    lake.put(A)
    assert lake.consume() == 1


def test_an_idle_consumer_commits_once_an_hour(lake: Lake) -> None:
    lake.put(A, 3)
    lake.consume()
    clean, _ = snapshots(tables_of(lake.home.config, "user"))
    before = len(clean.commits())
    lake.consume(between=[0.4] * 8)
    clean, _ = snapshots(tables_of(lake.home.config, "user"))
    assert 2 <= len(clean.commits()) - before <= 4  # two shards, two hours


def test_records_of_a_shard_that_never_gave_one_may_have_expired_as_well(lake: Lake) -> None:
    lake.put(A)
    lake.consume()
    lake.put(B, 5)
    lake.kinesis.pass_time(20)
    lake.put(A)
    lake.kinesis.pass_time(10)
    with pytest.raises(RecordsExpired):
        lake.consume()


def test_what_was_there_before_a_pipeline_began_is_no_gap(lake: Lake) -> None:
    lake.put(A, 3)
    lake.kinesis.pass_time(30)
    lake.put(A, 2)
    assert lake.consume() == 2
    assert is_proven(lake.told())


@pytest.mark.parametrize(("away", "stops"), [(72, False), (7 * 24 + 1, True)])
def test_a_stream_that_keeps_records_for_longer_allows_a_longer_absence(
    lake: Lake, away: int, *, stops: bool
) -> None:
    lake.kinesis.retention = timedelta(days=7)
    lake.put(A)
    lake.consume()
    lake.kinesis.pass_time(7 * 24 - 2)
    lake.consume()
    lake.kinesis.pass_time(away)
    with pytest.raises(RecordsExpired) if stops else nullcontext():
        lake.consume()


def test_a_parent_that_was_read_to_its_end_leaves_no_gap(lake: Lake) -> None:
    lake.put(A, 3)
    lake.consume()
    lake.kinesis.reshard((A,), 2)
    lake.consume(between=[20, 20])
    assert A not in lake.kinesis.shards
    assert is_proven(lake.told())
    assert lake.consume() == 0


def test_children_that_nobody_read_before_their_parent_expired_have_a_gap(lake: Lake) -> None:
    lake.put(A, 3)
    lake.consume()
    lake.put(A)
    lake.kinesis.reshard((A,), 2)
    lake.kinesis.pass_time(25)
    with pytest.raises(RecordsExpired):
        lake.consume()
    assert doubts(lake.told())


def test_a_parent_that_expires_before_its_end_was_read_is_a_gap(lake: Lake) -> None:
    """While the process runs: its calls failed for a day."""
    lake.put(A, 3)
    lake.consume()
    lake.put(A, 5)
    lake.kinesis.reshard((A,), 2)
    lake.kinesis.faults["GetRecords", A] = [
        fault("ProvisionedThroughputExceededException") for _ in range(9)
    ]
    lake.kinesis.pass_time(23.5)
    with pytest.raises(RecordsExpired):
        lake.consume(between=[2])


def test_a_gap_that_opens_after_one_was_accepted_stops_the_consumer(lake: Lake) -> None:
    lake.put(A)
    lake.consume()
    lake.put(A, 5)
    with pytest.raises(RecordsExpired):
        lake.consume(accept_gap=True, between=[26])


@contextmanager
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the code that kept neither the first start nor tips, and read on over gaps."""
    with monkeypatch.context() as before:
        before.setattr(Beginnings, "starts", lambda *_: {})
        before.setattr(positions, "noted", lambda *_: ())
        before.setattr(Tips, "gaps", lambda *_: 0)
        yield


def test_tables_of_before_go_on_from_their_last_commit(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(A, 3)
    with as_before(monkeypatch):
        lake.consume()
        lake.kinesis.pass_time(30)
        lake.put(A)
        lake.consume()
    lake.kinesis.pass_time(20)
    assert lake.consume() == 0
    assert is_proven(lake.told())


def test_tables_of_before_whose_last_commit_is_too_old_have_a_gap(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.put(A, 3)
    with as_before(monkeypatch):
        lake.consume()
    lake.kinesis.pass_time(25)
    assert doubts(lake.told())
    with pytest.raises(RecordsExpired):
        lake.consume()


def test_a_reader_behind_a_sink_tells_it_nothing() -> None:
    told = {of(A): Note(Position(5), tip=9), of(B): Note(None, tip=9)}
    assert positions.kept(told, {of(A): Position(6), of(B): Position(7)}) == {of(B): told[of(B)]}
    assert positions.kept(told, {of(A): Position(5)}) == told


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([0, 1]), st.integers(1, 3)),
        st.tuples(st.just("pass"), st.just(0), st.sampled_from([1, 10, 22, 26])),
        st.tuples(st.just("consume"), st.just(0), st.just(0)),
        st.tuples(st.just("reshard"), st.sampled_from([0, 1]), st.integers(1, 2)),
    ),
    min_size=4,
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=examples(10), deadline=None)
@pytest.mark.slow
def test_no_record_is_lost_without_a_gap_that_says_so(
    steps: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"), shards=2)
    read = lake.consume()
    sent = gaps = 0
    for what, which, number in steps:
        open_ = [name for name, shard in lake.kinesis.shards.items() if not shard.closed]
        shard = open_[which % len(open_)]
        if what == "put":
            lake.put(shard, number)
            sent += number
        elif what == "pass":
            lake.kinesis.pass_time(number)
        elif what == "reshard":
            lake.kinesis.reshard((shard,), number)
        else:
            more, gap = lake.consumed()
            read, gaps = read + more, gaps + gap
    more, gap = lake.consumed()
    read, gaps = read + more, gaps + gap
    assert read == sent or (read < sent and gaps)
