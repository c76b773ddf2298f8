"""`pinpip quarantine requeue` where tables are unusual: incarnations, archives, compaction."""

from pathlib import Path

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from audit.invariants import FindingKind
from audit.verify import verify
from core.clock import SystemClock
from core.config import Config
from core.errors import ConfigError, PinpipError
from pinpip import configfile
from pinpip.maintain import maintain
from pinpip.pipelines import archives_of, sinks_of, tables_of
from pinpip.quarantine.requeue import requeue
from pinpip.quarantine.rows import Choice
from tests.support.board_lake import NEW, BoardLake, Member, write

STRICT = 'rows.with_columns(pl.col("title").cast(pl.Int64).cast(pl.String))'
OAK, SEVEN = {"id": 1, "title": "Oak"}, {"id": 2, "title": "7"}


@pytest.fixture
def lake(tmp_path: Path) -> BoardLake:
    return BoardLake(tmp_path, str(tmp_path / "lake"))


def changed(path: Path, **pipeline: object) -> Config:
    """Return the configuration in the file with other keys of its pipeline."""
    tree = yaml.safe_load(path.read_text())
    tree["pipelines"]["boards"] |= pipeline
    path.write_text(yaml.safe_dump(tree))
    return configfile.load(path, {})


def run(config: Config) -> int:
    return requeue(config, "boards", Choice(), SystemClock()).passing


def assert_exact(config: Config) -> None:
    archives, _ = archives_of(config, "boards")
    report = verify(tables_of(config, "boards"), archives)
    assert (report.findings, report.unknown) == ((), ())


def test_only_the_own_incarnation_is_requeued_and_its_rows_name_it(lake: BoardLake) -> None:
    write(lake.config(body=STRICT), OAK, SEVEN)
    strict = changed(lake.path(body=STRICT), incarnation="2")
    write_begun(strict, Member(lake.config(body=STRICT)), OAK, SEVEN)
    today = changed(lake.path(), incarnation="2")
    assert run(today) == 1
    rows = pl.read_delta(tables_of(today, "boards").clean)
    own = rows.filter(pl.col("_incarnation") == "2").sort("_offset")
    assert own["title"].to_list() == ["Oak", "7"]
    assert rows.filter(pl.col("_incarnation").is_null())["title"].to_list() == ["7"]
    for config in (today, lake.config()):
        assert_exact(config)
    assert run(lake.config()) == 1
    for config in (changed(lake.path(), incarnation="2"), lake.config()):
        assert_exact(config)


def write_begun(config: Config, member: Member, *records: object) -> None:
    """Write as a member that may begin its incarnation in the table."""
    member.close()
    member.sinks = sinks_of(config, "boards", member.process, SystemClock(), begins=True)
    member.seek()
    member.write(*records)
    for sink in member.sinks:
        sink.close()


@pytest.mark.parametrize("stage", ["raw", "clean"])
def test_an_archive_stays_as_it_is_and_verify_finds_nothing(
    lake: BoardLake, tmp_path: Path, stage: str
) -> None:
    archive = {"parquet": str(tmp_path / "archive"), "stage": stage}
    sinks = [{"delta": "boards"}, archive]
    write(changed(lake.path(body=STRICT), sinks=sinks), OAK, SEVEN)
    before = sorted((tmp_path / "archive").rglob("*"))
    today = changed(lake.path(), sinks=sinks)
    assert run(today) == 1
    assert sorted((tmp_path / "archive").rglob("*")) == before
    assert_exact(today)


def test_a_column_that_the_table_lacks_is_one_error_before_anything_changes(
    lake: BoardLake,
) -> None:
    write(lake.config(body=STRICT), OAK, SEVEN)
    before = lake.rows()
    with pytest.raises(PinpipError, match="lacks pins") as refused:
        run(lake.config(NEW))
    assert "start its consumer" in refused.value.hint
    assert_frame_equal(lake.rows(), before)
    assert_exact(lake.config())


def test_a_transform_that_cannot_run_is_one_error_before_anything_changes(
    lake: BoardLake,
) -> None:
    write(lake.config(body=STRICT), OAK, SEVEN)
    before = lake.rows()
    with pytest.raises(ConfigError):
        run(lake.config(body='rows.select("nothing")'))
    assert_frame_equal(lake.rows(), before)


def test_compacted_tables_are_requeued_and_compacted_again(lake: BoardLake) -> None:
    for _ in range(12):
        write(lake.config(body=STRICT), OAK, SEVEN, b"{")
    today = lake.config()
    maintained(today)
    assert run(today) == 12
    for _ in range(6):
        write(today, OAK)
    maintained(today)
    assert_exact(today)
    assert lake.rows().height == 30


def maintained(config: Config) -> None:
    assert sum(done.commits for done in maintain(config, "boards", SystemClock()))


def test_a_record_that_is_in_both_tables_is_named_and_not_called_exact(lake: BoardLake) -> None:
    """No step of ours makes one: a copy in the clean table is another's, and is not hidden."""
    write(lake.config(body=STRICT), OAK, SEVEN)
    seven = lake.rows()
    copy = seven.with_columns(pl.lit(0, pl.Int64).alias("_offset"), pl.lit("Oak").alias("title"))
    copy.write_delta(lake.table(), mode="append")
    kinds = {f.kind for f in verify(tables_of(lake.config(), "boards")).findings}
    assert FindingKind.DUPLICATE in kinds
    run(lake.config())
    assert lake.rows()["title"].to_list() == ["Oak", "7"]
