"""Comparing with the source finds what counts and coordinates cannot show: other content."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.invariants import FindingKind
from audit.reread import Comparison
from audit.row_diff import compare
from audit.verify import snapshots, verify
from core.batch import KAFKA, KINESIS, VALUE, Batch, Partition, Position, Stretch
from core.errors import SinkError
from sinks.delta import scan
from sinks.delta.scan import TableReader
from tests.support.batches import RecordLog
from tests.support.pairs import A, B, Pair

CUTS = (0, 10, 20, 30)


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Thirty records of each of two partitions, in three commits and three objects of each."""
    made = Pair(str(tmp_path), request.param)
    made.write(*batches(made.log, CUTS))
    made.archived(*batches(made.log, CUTS))
    return made


def batches(log: RecordLog, cuts: Sequence[int] = (0, 7, 19, 30)) -> list[Batch]:
    """Read the log again in batches that are cut elsewhere than at first."""
    return [log.batch({A: cut, B: cut}) for cut in pairwise(cuts)]


def compared(pair: Pair, again: Sequence[Batch] | None = None, **options: Any) -> Comparison:
    """Compare everything from the first record on."""
    starts = {pair.log.partition(index): _first(pair) for index in (A, B)}
    comparison = Comparison(
        [*snapshots(pair.tables), pair.archive], starts, pair.coordinates, **options
    )
    for batch in batches(pair.log) if again is None else again:
        comparison.write(batch)
    return comparison


def _first(pair: Pair) -> Position | None:
    return Position(0) if pair.coordinates is KAFKA else None


def found(comparison: Comparison) -> set[tuple[FindingKind, Partition | None]]:
    """Return which kinds of difference were found, and where."""
    return {(finding.kind, finding.partition) for finding in comparison.findings()}


def said(comparison: Comparison) -> str:
    """All findings in words."""
    return "\n".join(finding.detail for finding in comparison.findings())


def test_sound_tables_and_archives_equal_the_source(pair: Pair) -> None:
    comparison = compared(pair)
    assert comparison.findings() == []
    assert comparison.done
    assert comparison.records == 60
    assert sum(comparison.rows.values()) == 2 * 60


def test_a_row_changed_in_place_is_different(pair: Pair) -> None:
    pair.change("clean", 13, title="'forged'")
    assert verify(pair.tables).findings == ()
    comparison = compared(pair)
    where = {pair.log.partition(A), pair.log.partition(B)}
    assert found(comparison) == {(FindingKind.DIFFERENT, partition) for partition in where}
    assert "title is 'forged', not 'No Bake 🎉'" in said(comparison)
    assert "1 rows differ" in said(comparison)


def test_a_nested_value_changed_in_place_is_different(pair: Pair) -> None:
    pair.change("clean", 13, pair="[1.5, NULL]")
    assert "pair is [1.5, None], not [4.33" in said(compared(pair))


def test_a_double_does_not_hide_the_row_that_it_replaced(pair: Pair) -> None:
    pair.drop("clean", A, 13)
    twin = pl.read_delta(pair.uri("clean")).filter(pl.col("ind") == 14)
    write_deltalake(pair.uri("clean"), twin.head(1), mode="append")
    double = Partition(*map(str, twin.head(1).select(pair.coordinates.identity[:2]).row(0)))
    assert found(compared(pair)) == {
        (FindingKind.MISSING, pair.log.partition(A)),
        (FindingKind.DUPLICATE, double),
    }


def test_an_altered_payload_in_the_quarantine_is_different(pair: Pair) -> None:
    own = pair.coordinates.of(pair.log.partition(A)) & (pl.col("detail") == "record 12")
    altered = pl.read_delta(pair.uri("rejected")).filter(own)
    pair.drop("rejected", A, 12)
    altered = altered.with_columns(pl.lit(b"altered").alias(VALUE))
    write_deltalake(pair.uri("rejected"), altered, mode="append")
    assert verify(pair.tables).findings == ()
    assert """_value is b'altered', not b'{"ind": 12}\'""" in said(compared(pair))


def test_the_release_that_rejected_a_row_may_be_an_older_one(pair: Pair) -> None:
    pair.change("rejected", 12, transform_version="'0.0.1'")
    assert compared(pair).findings() == []


@pytest.mark.parametrize(
    ("reason", "differences"), [("transform_failed", 0), ("not_json", 0), ("bad_key", 1)]
)
def test_words_of_python_and_its_libraries_may_change(reason: str, differences: int) -> None:
    rows = RecordLog(KAFKA).batch({A: (0, 1)}).rejected.with_columns(reason=pl.lit(reason))
    later = rows.with_columns(detail=pl.lit("the words of a later version"))
    assert len(compare(rows, later, KAFKA, "quarantine")) == differences


def test_rows_that_the_source_does_not_give_are_surplus(pair: Pair) -> None:
    gone = [pair.log.batch({A: (0, 10)}), pair.log.without_rows({A: (10, 20)})]
    comparison = compared(pair, [*gone, pair.log.batch({A: (20, 30)})])
    assert found(comparison) == {(FindingKind.SURPLUS, pair.log.partition(A))}
    assert "10 rows are no records of the source" in said(comparison)


def test_rows_that_compaction_took_from_the_source_are_out_of_reach(pair: Pair) -> None:
    gone = [pair.log.batch({A: (0, 10)}), pair.log.without_rows({A: (10, 30)})]
    comparison = compared(pair, gone, compacted={pair.log.source})
    assert comparison.findings() == []
    assert sum(comparison.rows.values()) == 2 * 10


def test_what_the_tables_have_not_reached_is_not_compared(pair: Pair) -> None:
    comparison = compared(pair, batches(pair.log, (0, 25, 45)))
    assert comparison.findings() == []
    assert sum(comparison.rows.values()) == 2 * 60


def test_a_partition_that_is_passed_over_is_not_compared(pair: Pair) -> None:
    pair.drop("clean", B, 13)
    starts = {pair.log.partition(A): _first(pair)}
    comparison = Comparison(snapshots(pair.tables), starts, pair.coordinates)
    for batch in batches(pair.log):
        comparison.write(batch)
    assert comparison.findings() == []
    assert comparison.records == 30


def test_a_stretch_is_done_after_so_many_records(pair: Pair) -> None:
    comparison = compared(pair, batches(pair.log)[:1], limit=8)
    assert not comparison.done
    comparison.write(batches(pair.log)[1])
    assert comparison.done


def test_a_comparison_goes_on_behind_what_retention_took(pair: Pair) -> None:
    comparison = compared(pair, batches(pair.log)[:1])
    [partition] = {pair.log.partition(A)}
    assert comparison.positions([partition]) == {partition: pair.log.position(7)}
    later = pair.log.position(19)
    assert later is not None
    comparison.skip({partition: later})
    assert comparison.positions([partition]) == {partition: later}
    comparison.skip({partition: Position(0)})
    assert comparison.positions([partition]) == {partition: later}


def test_an_altered_archive_is_different(pair: Pair) -> None:
    path = pair.objects(A)[1]
    _rewrite(path, pl.read_parquet(path).with_columns(pl.lit(b"altered").alias(VALUE)))
    comparison = compared(pair)
    assert found(comparison) == {(FindingKind.DIFFERENT, pair.log.partition(A))}
    assert "10 rows differ" in said(comparison)
    assert pair.uri("archive") in said(comparison)


def test_a_record_that_the_archive_lost_is_missing(pair: Pair) -> None:
    path = pair.objects(B)[2]
    _rewrite(path, pl.read_parquet(path).tail(9))
    assert found(compared(pair)) == {(FindingKind.MISSING, pair.log.partition(B))}


def test_an_object_that_was_cut_short_is_missing(pair: Pair) -> None:
    path = pair.objects(B)[1]
    path.write_bytes(path.read_bytes()[:-100])
    assert found(compared(pair)) == {(FindingKind.MISSING, pair.log.partition(B))}


def _rewrite(path: Path, frame: pl.DataFrame) -> None:
    """Other rows below the same name, with what the object says of itself."""
    about = pl.read_parquet_metadata(path)["pinpip"]
    frame.write_parquet(path, metadata={"pinpip": about})


def test_a_table_without_a_column_of_today_says_so(pair: Pair) -> None:
    again = [replace(b, clean=b.clean.with_columns(new=1)) for b in batches(pair.log)]
    with pytest.raises(SinkError, match="clean has no columns new"):
        compared(pair, again)


def test_a_data_file_that_is_gone_is_named(pair: Pair) -> None:
    [path, *_] = sorted(Path(pair.uri("clean")).glob("*.parquet"))
    path.unlink()
    with pytest.raises(SinkError, match=path.name):
        compared(pair)
    with pytest.raises(SinkError, match=path.name):
        verify(pair.tables)


def test_only_the_files_that_may_hold_a_stretch_are_read(pair: Pair) -> None:
    stretch = Stretch(pair.log.position(12), pair.log.position(18) or Position(0))
    table = pair.table("clean")
    found = TableReader(table, dict).files
    own = scan.touching(found, pair.coordinates, {pair.log.partition(A): stretch})
    assert len(own) == 1
    assert len(table.file_uris()) == 3


def test_files_without_statistics_are_read(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(*batches(pair.log))
    pair.table("clean").alter.set_table_properties({"delta.dataSkippingNumIndexedCols": "0"})
    pair.table("clean").optimize.compact()
    comparison = Comparison(
        snapshots(pair.tables), {pair.log.partition(A): Position(0)}, pair.coordinates
    )
    for batch in batches(pair.log):
        comparison.write(batch)
    assert comparison.findings() == []
    assert sum(comparison.rows.values()) == 30


@given(
    held=st.lists(st.integers(0, 9), max_size=12),
    forged=st.sets(st.integers(0, 9), max_size=3),
)
@settings(deadline=None)
def test_every_difference_is_counted_once(held: list[int], forged: set[int]) -> None:
    log = RecordLog(KAFKA)
    wanted = log.batch({A: (0, 8)}).raw
    rows = (
        log.batch({A: (0, 10)})
        .raw[held]
        .with_columns(
            pl.when(pl.col("_offset").is_in(list(forged)))
            .then(pl.lit("x"))
            .otherwise("_key")
            .alias("_key")
        )
    )
    there = Counter(held)
    counts = {
        FindingKind.MISSING: sum(n not in there for n in range(8)),
        FindingKind.SURPLUS: sum(n >= 8 for n in there),
        FindingKind.DUPLICATE: sum(there.values()) - len(there),
        FindingKind.DIFFERENT: sum(n < 8 and n in forged for n in there),
    }
    differences = {d.kind: d.rows for d in compare(wanted, rows, KAFKA, "it")}
    assert differences == {kind: count for kind, count in counts.items() if count}
