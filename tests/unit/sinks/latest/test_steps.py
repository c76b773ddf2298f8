"""What single steps of a follower read and write, and what they refuse."""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from core.batch import KAFKA
from core.clock import SystemClock
from core.errors import ConfigError
from sinks.delta import log, txns
from sinks.delta.commit_log import LONGEST_COMMIT
from sinks.latest import leaves
from sinks.latest.follower import Follower
from sinks.latest.mark import stored
from sinks.latest.step import Step
from sinks.latest.view import View
from sinks.storage.store import FolderStore
from tests.support.aws import TestAws
from tests.support.clock import ManualClock
from tests.support.latest_lake import LatestLake, Rec, tiny


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> LatestLake:
    """Return a lake with three records of two keys, followed."""
    made = LatestLake(str(tmp_path))
    if getattr(request, "param", "folder") == "bucket":
        aws: TestAws = request.getfixturevalue("aws")
        root = f"s3://{aws.bucket()}/lake"
        made = LatestLake(root, aws=aws.config, options=aws.storage_options)
    made.append(0, [Rec(1, 0, "a"), Rec(2, 1, "b"), Rec(1, 2, "c")])
    made.follow()
    return made


def titles(lake: LatestLake) -> dict[int, str]:
    return {row["ind"]: row["title"] for row in lake.rows()}


BOTH = pytest.mark.parametrize("lake", ["folder", "bucket"], indirect=True)


@BOTH
def test_a_step_reads_what_was_added_and_a_second_one_does_nothing(lake: LatestLake) -> None:
    assert titles(lake) == {1: "c", 2: "b"}
    lake.append(0, [Rec(2, 9, "d"), Rec(3, 9, "e")])
    [step] = lake.follow()
    assert (step.rows, step.behind, step.rebuilt) == (2, 0, None)
    assert titles(lake) == {1: "c", 2: "d", 3: "e"}
    version = lake.table(lake.uri).version()
    [again] = lake.follow()
    assert (again.committed, lake.table(lake.uri).version()) == (False, version)


def test_polars_duckdb_and_delta_rs_read_the_same_rows(lake: LatestLake) -> None:
    lake.append(1, [Rec(n, n, "x") for n in range(50)])
    lake.append(1, [Rec(7, 90, None)])
    lake.follow()
    wanted = [row["ind"] for row in lake.wanted()]
    arrow = DeltaTable(lake.uri).to_pyarrow_table()
    assert sorted(arrow["ind"].to_pylist()) == wanted
    with duckdb.connect() as base:
        base.register("latest", arrow)
        found = base.execute("SELECT ind FROM latest ORDER BY ind").fetchall()
    assert [ind for (ind,) in found] == wanted
    assert pl.read_delta(lake.uri)["ind"].sort().to_list() == wanted
    assert DeltaTable(lake.uri).to_pyarrow_table(filters=[("ind", "=", 8)]).num_rows == 1


def test_a_tombstone_wins_against_older_records_that_come_after_it(lake: LatestLake) -> None:
    lake.append(0, [Rec(1, 10, None)])
    lake.follow()
    assert titles(lake) == {2: "b"}
    lake.append(1, [Rec(1, 9, "late")])
    lake.follow()
    assert titles(lake) == {2: "b"}
    lake.append(1, [Rec(1, 11, "again")])
    lake.follow()
    assert titles(lake) == {1: "again", 2: "b"}


@pytest.mark.parametrize("first", [0, 1])
def test_equal_orders_are_decided_by_the_coordinates_whatever_comes_first(
    lake: LatestLake, first: int
) -> None:
    lake.append(first, [Rec(5, 50, f"partition {first}")])
    lake.follow()
    lake.append(1 - first, [Rec(5, 50, f"partition {1 - first}")])
    lake.follow()
    assert titles(lake)[5] == "partition 1"


def test_only_the_files_of_the_keys_are_written_again(
    lake: LatestLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaves, "ROWS", 10)
    lake.append(0, [Rec(n, 50, "x") for n in range(100)])
    lake.follow()
    files = set(lake.table(lake.uri).file_uris())
    assert len(files) == 10
    lake.append(0, [Rec(42, 60, "y")])
    [step] = lake.follow()
    now = set(lake.table(lake.uri).file_uris())
    assert (step.files, len(files - now), len(now - files)) == (1, 1, 1)


def test_a_step_whose_files_upkeep_may_take_for_orphans_changes_nothing(lake: LatestLake) -> None:
    clock = ManualClock()

    class SlowStore(FolderStore):
        def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
            clock.advance(LONGEST_COMMIT.total_seconds())
            return super().put_new(key, body, metadata)

    lake.append(0, [Rec(3, 9, "e")])
    before = lake.table(lake.uri).version()
    store = SlowStore(Path(lake.uri))
    step = Follower(lake.view, lake.tables, lake.uri, store, clock).step()
    assert (step.lost, lake.table(lake.uri).version()) == (True, before)
    lake.follow()
    assert titles(lake)[3] == "e"


def test_compaction_is_passed_over(lake: LatestLake) -> None:
    lake.append(0, [Rec(3, 9, "e")])
    lake.follow()
    lake.table(lake.tables.clean).optimize.compact()
    [step] = lake.follow()
    assert (step.rows, step.files, step.rebuilt) == (0, 0, None)


def test_a_row_that_was_removed_gives_way_to_the_one_before_it(lake: LatestLake) -> None:
    lake.table(lake.tables.clean).delete("title = 'c'")
    [step] = lake.follow()
    assert step.rebuilt is None
    assert titles(lake) == {1: "a", 2: "b"}


@pytest.mark.parametrize("view", [View("title", "_timestamp", KAFKA), View("ind", "rank", KAFKA)])
def test_another_key_or_order_builds_everything_again(lake: LatestLake, view: View) -> None:
    store = lake.follower()._store
    step = Follower(view, lake.tables, lake.uri, store, SystemClock()).step()
    assert step.rebuilt == "its key, its order or its layout is another"


def test_an_append_table_of_another_life_builds_everything_again(lake: LatestLake) -> None:
    other = LatestLake(f"{lake.root}/other")
    other.append(0, [Rec(9, 0, "z")])
    store = lake.follower()._store
    step = Follower(lake.view, other.tables, lake.uri, store, SystemClock()).step()
    assert step.rebuilt == "the append table was replaced"
    assert titles(lake) == {9: "z"}


def test_files_that_were_vacuumed_before_they_were_read_build_everything_again(
    lake: LatestLake,
) -> None:
    lake.append(0, [Rec(3, 9, "e")])
    lake.append(0, [Rec(4, 9, "f")])
    table = lake.table(lake.tables.clean)
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert [step.rebuilt for step in lake.follow()] == ["a file of an earlier version was removed"]
    assert lake.rows() == lake.wanted()


def test_a_column_that_the_append_table_gets_is_in_the_latest_table(lake: LatestLake) -> None:
    table = lake.table(lake.tables.clean)
    table.alter.add_columns([Field("more", PrimitiveType("string"))])
    rows = pl.read_delta(lake.tables.clean).head(1)
    new = rows.with_columns(pl.lit(7).alias("ind"), pl.lit("new").alias("more"))
    new.write_delta(lake.tables.clean, mode="append")
    lake.follow()
    found = pl.read_delta(lake.uri).sort("ind")
    assert found["more"].to_list() == [None, None, "new"]


def test_the_position_is_in_the_entry_of_the_rows(lake: LatestLake) -> None:
    mark = stored(txns.read(lake.table(lake.uri), dict))
    assert mark is not None
    assert mark.version == lake.table(lake.tables.clean).version()
    entry = Path(lake.uri, log.name_of(1)).read_text(encoding="utf-8")
    assert '"add"' in entry
    assert '"txn"' in entry


def test_a_follower_that_finds_another_ones_entry_fresh_rests(lake: LatestLake) -> None:
    lake.append(0, [Rec(3, 9, "e")])
    assert not lake.follower().step(rest=3600.0).committed
    assert lake.follower().step().committed


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (View("nobody", "_timestamp", KAFKA), "key: the table has no column nobody"),
        (View("ind", "nobody", KAFKA), "order: the table has no column nobody"),
    ],
)
def test_a_column_that_is_not_there_is_refused(lake: LatestLake, view: View, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        view.check(pl.Schema(lake.table(lake.tables.clean).schema()))


@pytest.mark.parametrize("dtype", [pl.Float64(), pl.Boolean(), pl.List(pl.Int64())])
def test_a_key_that_cannot_be_looked_up_is_refused(dtype: pl.DataType) -> None:
    schema = pl.Schema({"key": dtype, "_timestamp": pl.Datetime("us", "UTC")})
    with pytest.raises(ConfigError, match="a key is an integer, text, a date or a time"):
        View("key", "_timestamp", KAFKA).check(schema)


def test_a_file_that_was_removed_whole_gives_way_to_older_rows(lake: LatestLake) -> None:
    lake.append(0, [Rec(1, 80, "newest")])
    lake.follow()
    assert titles(lake) == {1: "newest", 2: "b"}
    lake.table(lake.tables.clean).delete("title = 'newest'")
    lake.follow()
    assert titles(lake) == {1: "c", 2: "b"}


def test_of_two_followers_at_once_one_wins_and_the_other_did_nothing(lake: LatestLake) -> None:
    lake.append(0, [Rec(3, 9, "e"), Rec(2, 9, "d")])
    others: list[Step] = []

    def between() -> bool:
        others.append(lake.follower().step())
        return False

    step = lake.follower().step(between)
    assert (step.lost, step.committed, others[0].committed) == (True, False, True)
    assert lake.rows() == lake.wanted()


def test_a_table_whose_keys_are_all_removed_is_built_empty(tmp_path: Path) -> None:
    lake = LatestLake(str(tmp_path))
    lake.append(0, [Rec(1, 0, "a"), Rec(1, 1, None)])
    [step] = lake.follow()
    assert (step.rebuilt, step.files, lake.rows()) == ("it is new", 0, [])


def test_ranges_of_keys_that_turn_out_empty_are_passed_over(tmp_path: Path) -> None:
    lake = LatestLake(str(tmp_path))
    lake.append(0, [Rec(1, n, "a") for n in range(40)])
    lake.append(0, [Rec(2, 0, "b")])
    with tiny():
        lake.follow()
    assert lake.rows() == lake.wanted()
