"""verify compares the table of latest rows with the append table at the version it says."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from audit.invariants import FindingKind
from audit.latest import LatestReport, compare
from core.batch import KAFKA
from sinks.latest.view import View
from tests.support.latest_lake import LatestLake, Rec


@pytest.fixture
def lake(tmp_path: Path) -> LatestLake:
    """Return a lake with three latest rows, and a key that a tombstone removed."""
    made = LatestLake(str(tmp_path))
    made.append(0, [Rec(1, 0, "a"), Rec(2, 1, "b"), Rec(1, 2, "c"), Rec(3, 3, "d"), Rec(4, 4, "e")])
    made.append(0, [Rec(3, 9, None)])
    made.follow()
    return made


def report(lake: LatestLake) -> LatestReport:
    return compare(lake.view, lake.tables, lake.uri)


def findings(lake: LatestLake) -> list[tuple[FindingKind, str, str]]:
    return [(f.kind, f.key, f.detail) for f in report(lake).findings]


def overwrite(lake: LatestLake, rows: pl.DataFrame) -> None:
    """Put other rows into the latest table's files: its log, and so its position, stay."""
    [file] = DeltaTable(lake.uri).file_uris()
    rows.write_parquet(file)
    entry = max(Path(lake.uri, "_delta_log").glob("*.json"))
    text = entry.read_text(encoding="utf-8")
    entry.write_text(text.replace('\\"numRecords\\":3', f'\\"numRecords\\":{rows.height}'), "utf-8")


def rows(lake: LatestLake) -> pl.DataFrame:
    return pl.read_delta(lake.uri).sort("ind")


def test_a_table_that_was_followed_has_no_difference(lake: LatestLake) -> None:
    assert report(lake) == LatestReport(3, lake.table(lake.tables.clean).version())


def test_it_is_compared_at_the_version_it_says_and_how_far_it_is_behind_is_told(
    lake: LatestLake,
) -> None:
    lake.append(0, [Rec(1, 10, "newer")])
    lake.append(0, [Rec(2, 11, None)])
    found = report(lake)
    assert (found.findings, found.unknown) == ((), None)
    assert found.behind >= 2


def test_a_row_that_is_missing_is_named(lake: LatestLake) -> None:
    overwrite(lake, rows(lake).filter(pl.col("ind") != 2))
    assert findings(lake) == [(FindingKind.MISSING, "ind 2", "it lacks demo.pin/0/1")]


def test_a_row_that_a_tombstone_removed_is_named(lake: LatestLake) -> None:
    dead = pl.read_delta(lake.tables.clean).filter(pl.col("ind") == 3)
    overwrite(lake, pl.concat([rows(lake), dead]))
    told = (FindingKind.SURPLUS, "ind 3", "it has demo.pin/0/3, and no row is due")
    assert findings(lake) == [told]


def test_an_older_row_is_named(lake: LatestLake) -> None:
    old = pl.read_delta(lake.tables.clean).filter(pl.col("title") == "a")
    overwrite(lake, pl.concat([rows(lake).filter(pl.col("ind") != 1), old]))
    told = (FindingKind.DIFFERENT, "ind 1", "it has demo.pin/0/0, not demo.pin/0/2")
    assert findings(lake) == [told]


def test_another_value_at_the_right_place_is_named(lake: LatestLake) -> None:
    other = rows(lake).with_columns(
        title=pl.when(pl.col("ind") == 4).then(pl.lit("x")).otherwise("title")
    )
    overwrite(lake, other)
    told = (FindingKind.DIFFERENT, "ind 4", "demo.pin/0/4 has other values there")
    assert findings(lake) == [told]


def test_a_key_that_is_there_twice_is_named(lake: LatestLake) -> None:
    overwrite(lake, pl.concat([rows(lake), rows(lake).filter(pl.col("ind") == 4)]))
    assert {kind for kind, *_ in findings(lake)} == {FindingKind.DUPLICATE}


def test_what_cannot_be_compared_is_not_known(lake: LatestLake) -> None:
    other = View("title", "_timestamp", KAFKA)
    told = compare(other, lake.tables, lake.uri).unknown
    assert told == "it shows another key or order; the next step builds it again"
    lake.append(0, [Rec(5, 20, "f")])
    lake.append(0, [Rec(6, 20, "g")])
    lake.table(lake.tables.clean).create_checkpoint()
    for path in sorted(Path(lake.tables.clean, "_delta_log").glob("*.json"))[:-1]:
        path.unlink()
    assert "was cleaned up" in (report(lake).unknown or "")


def test_a_table_that_was_not_made_yet_is_not_known(tmp_path: Path) -> None:
    made = LatestLake(str(tmp_path))
    assert report(made) == LatestReport()
    made.append(0, [Rec(1, 0, "a")])
    assert report(made).unknown == "it was not made yet"
