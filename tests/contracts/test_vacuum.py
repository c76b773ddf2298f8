"""Data files that nobody needs any more are removed, and no others: time passes at the store."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from audit.invariants import FindingKind
from audit.verify import verify
from core.batch import KAFKA
from core.errors import StalePosition
from sinks.delta import vacuum
from sinks.delta.compaction import Goal, SortedTable, compact_all
from sinks.delta.sink import DeltaSink
from sinks.delta.vacuum import unneeded
from sinks.storage.options import options_at
from sinks.storage.store import open_store
from tests.support.aged_store import AgedStore
from tests.support.aws import TestAws
from tests.support.batches import delta_target
from tests.support.clock import ManualClock
from tests.support.pairs import A, Pair

WEEK = timedelta(days=7)
DAY = timedelta(days=1)
GOAL = Goal(1 << 20, 1 << 20)


class Lake:
    """A clean table of real sinks, whose time the test moves."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.clock = pair, ManualClock()
        self.uri = pair.uri("clean")
        self.store = AgedStore(open_store(self.uri, pair.aws), self.clock)
        self.target = delta_target(self.uri, pair.options, KAFKA, "clean")
        self.end = 0

    def sink(self) -> DeltaSink:
        made = DeltaSink("clean", self.target, self.store, self.clock)  # type: ignore[arg-type]
        made.positions([self.pair.log.partition(A)])
        return made

    def append(self, times: int = 1) -> None:
        sink = self.sink()
        for _ in range(times):
            sink.write(self.pair.log.batch({A: (self.end, self.end + 3)}))
            self.end += 3
        sink.close()

    def merge(self) -> int:
        place = SortedTable(self.target, self.store, KAFKA.identity)  # type: ignore[arg-type]
        return sum(one.files for one in compact_all(place, GOAL, self.clock))

    def wait(self, time: timedelta) -> None:
        """Let time pass, and let a commit say so."""
        self.clock.advance(time.total_seconds())
        self.append()

    def vacuum(self) -> set[str]:
        found = unneeded(self.store, self.uri, self.pair.options, WEEK)  # type: ignore[arg-type]
        assert found.unknown == ""
        vacuum.remove(self.store, found)  # type: ignore[arg-type]
        return set(found.paths)

    def rows(self, version: int | None = None) -> pl.DataFrame:
        table = DeltaTable(self.uri, version=version, storage_options=self.pair.options())
        return pl.read_delta(table).sort("_offset")

    @property
    def version(self) -> int:
        return self.pair.table("clean").version()

    @property
    def files(self) -> set[str]:
        return {key for key in self.store.list("") if key.endswith(".zstd.parquet")}


@pytest.fixture(params=["folder", "bucket"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """Return a table of eight commits."""
    if request.param == "folder":
        made = Lake(Pair(str(tmp_path / "lake"), KAFKA))
    else:
        aws: TestAws = request.getfixturevalue("aws")
        place = f"s3://{aws.bucket()}/lake"
        made = Lake(Pair(place, KAFKA, aws.config, options_at(place, aws.config)))
    made.append(8)
    return made


def assert_sound(lake: Lake) -> None:
    """Assert that verify finds nothing but the quarantine, which nobody writes here."""
    assert {one.kind for one in verify(lake.pair.tables).findings} <= {FindingKind.BEHIND}


def orphan(lake: Lake) -> str:
    """Upload the rows of a batch, as a writer that dies before its entry."""
    sink, before = lake.sink(), lake.files
    sink.prepare(lake.pair.log.batch({A: (lake.end, lake.end + 3)})).upload()
    sink.release([lake.pair.log.partition(A)])
    [path] = lake.files - before
    return path


def test_replaced_files_go_after_the_retention_and_a_reader_within_it_is_safe(lake: Lake) -> None:
    old, version, rows = lake.files, lake.version, lake.rows()
    lake.wait(5 * DAY)
    assert lake.merge() == 9
    lake.wait(4 * DAY)
    assert lake.vacuum() == set()  # replaced four days ago
    assert_frame_equal(lake.rows(version), rows)
    lake.wait(4 * DAY)
    assert lake.vacuum() >= old
    assert lake.rows().height == sum(9 * [2]) + 2 * 2
    assert lake.files >= set(pl.DataFrame(lake.pair.table("clean").get_add_actions())["path"])


def test_a_file_that_was_never_committed_goes_and_no_other(lake: Lake) -> None:
    lost = orphan(lake)
    before = lake.rows()
    lake.wait(WEEK + timedelta(hours=1))
    assert lake.vacuum() == set()  # its writer may be a day late
    lake.wait(DAY)
    assert lake.vacuum() == {lost}
    assert_frame_equal(lake.rows().head(before.height), before)
    assert_sound(lake)


def test_a_file_that_a_running_writer_commits_later_stays(lake: Lake) -> None:
    lake.wait(10 * DAY)
    sink = lake.sink()
    prepared = sink.prepare(lake.pair.log.batch({A: (lake.end, lake.end + 3)}))
    prepared.upload()
    lake.clock.advance(DAY.total_seconds() - 1)
    assert lake.vacuum() == set()
    sink.commit([prepared])
    assert lake.rows()["_offset"].max() == lake.end + 2
    sink.close()


def test_a_writer_that_is_too_late_reads_its_records_again(lake: Lake) -> None:
    sink, batch = lake.sink(), lake.pair.log.batch({A: (lake.end, lake.end + 3)})
    prepared = sink.prepare(batch)
    prepared.upload()
    lake.clock.advance(DAY.total_seconds())
    before = lake.version
    with pytest.raises(StalePosition, match="uploaded more than"):
        sink.commit([prepared])
    assert lake.version == before
    sink.positions([lake.pair.log.partition(A)])
    sink.write(batch)
    sink.close()
    lake.end += 3
    assert_sound(lake)


def test_a_table_that_is_younger_than_the_retention_keeps_all(lake: Lake) -> None:
    orphan(lake)
    lake.merge()
    lake.wait(WEEK - timedelta(seconds=1))
    assert lake.vacuum() == set()


def test_a_log_that_does_not_go_back_so_far_is_said(lake: Lake) -> None:
    lake.pair.table("clean").create_checkpoint()
    lake.wait(WEEK)
    first = [f"_delta_log/{n:020}.json" for n in range(3)]
    lake.store.remove(first)
    lake.store.written = {
        key: at if "_delta_log" not in key else lake.clock.now()
        for key, at in lake.store.written.items()
    }
    found = unneeded(lake.store, lake.uri, lake.pair.options, WEEK)  # type: ignore[arg-type]
    assert found.paths == ()
    assert "does not go back by" in found.unknown


@pytest.mark.parametrize("lake", ["folder"], indirect=True)  # delta-rs and moto need one lock
def test_the_tables_own_retention_counts_where_it_is_longer(lake: Lake) -> None:
    table = lake.pair.table("clean")
    table.alter.set_table_properties({vacuum.PROPERTY: "interval 30 days"})
    lost = orphan(lake)
    lake.wait(20 * DAY)
    assert lake.vacuum() == set()
    lake.wait(12 * DAY)
    assert lake.vacuum() == {lost}


def test_files_of_others_stay(lake: Lake) -> None:
    for key in ("mine.parquet", "part-00000-c000.snappy.parquet", "_change_data/x.parquet"):
        lake.store.put_new(key, b"mine", {})
    lake.wait(20 * DAY)
    lake.wait(20 * DAY)
    assert lake.vacuum() == set()


def test_an_orphan_of_another_incarnation_goes_too(lake: Lake) -> None:
    name = min(lake.files)
    lake.store.put_new(f"incarnation=2/{name}", b"lost", {})
    lake.wait(20 * DAY)
    assert lake.vacuum() == {f"incarnation=2/{name}"}
