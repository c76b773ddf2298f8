"""The harness itself: its checker, its results, and one small contest."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from deltalake import write_deltalake

from benchmarks import check, recovery, results
from benchmarks.compare import compare
from benchmarks.contest import OWN, BenchmarkSetup
from benchmarks.topic import Topic
from tests.support.brokers import Broker

TOPIC = Topic("nowhere:9092", "pin", partitions=2, records=2000, mean_bytes=746.0)


@pytest.fixture
def rows() -> pl.DataFrame:
    return check.expected(TOPIC, every=1)


def faults(folder: Path, rows: pl.DataFrame) -> list[str]:
    write_deltalake(str(folder / "pin"), rows)
    return check.faults(str(folder / "pin"), TOPIC)


@pytest.mark.slow
def test_the_checker_finds_no_fault_with_every_record_once(
    tmp_path: Path, rows: pl.DataFrame
) -> None:
    assert faults(tmp_path, rows) == []


def missing(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.remove((pl.col("_partition") == 1) & (pl.col("_offset") == 7))


def last_missing(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.remove((pl.col("_partition") == 1) & (pl.col("_offset") == 999))


def doubled(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([rows, rows[1007:1008]])


def doubled_for_missing(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([missing(rows), rows[1008:1009]])


def partition_missing(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("_partition") == 0)


@pytest.mark.parametrize(
    "damage", [missing, last_missing, doubled, doubled_for_missing, partition_missing]
)
def test_the_checker_refuses_a_table_with_a_missing_or_doubled_row(
    tmp_path: Path, rows: pl.DataFrame, damage: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    assert "partition 1 holds" in faults(tmp_path, damage(rows))[0]


@pytest.mark.parametrize("column", ["ind", "title", "follower_count", "save_location"])
def test_the_checker_refuses_a_column_that_is_not_cleaned_as_pinpip_does(
    tmp_path: Path, rows: pl.DataFrame, column: str
) -> None:
    other = pl.col(column).shift(1)
    assert faults(tmp_path, rows.with_columns(other)) == [f"column {column} differs from pinpip's"]


def test_a_result_is_read_back_as_it_was_kept(tmp_path: Path) -> None:
    rows = [{"contestant": "pinpip", "records/s": 250_000, "target": None, "runs": [{"cpu": 1.5}]}]
    kept = results.result("compare", {"records": 10}, rows)
    assert kept.rows == rows
    stored = kept.save(tmp_path).read_text(encoding="utf-8")
    assert results.BenchmarkResult.model_validate_json(stored) == kept


def test_the_version_of_a_table_leaves_out_drafts_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "lake" / "user" / "_delta_log"
    assert recovery.version(tmp_path) == -1
    log.mkdir(parents=True)
    for name in (f"{7:020}.json", ".8675d4b305da4ea7a7d2", "_last_checkpoint"):
        (log / name).touch()
    assert recovery.version(tmp_path) == 7


@pytest.mark.real_broker
def test_every_contestant_does_the_work(broker: Broker, tmp_path: Path) -> None:
    stage, name = BenchmarkSetup(broker.bootstrap, None, tmp_path), f"bench{uuid4().hex[:12]}"
    found = compare(stage, OWN, records=4000, partitions=4, rounds=1, name=name)
    assert [row["contestant"] for row in found.rows] == ["drain", "loop", "sequential", "pinpip"]
    assert all(row["records/s"] > 0 for row in found.rows)
    assert found.parameters["mean_bytes"] > 500
