"""verify finds every damage that is done to a table, and nothing where none was done."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import Transaction, write_deltalake

from audit.invariants import FindingKind
from audit.verify import Report, prove, snapshots, verify
from core.batch import KAFKA, KINESIS
from core.errors import SinkError
from sinks.delta import history, positions
from sinks.delta.scan import TableReader
from sinks.parquet import chain
from tests.support.aws import TestAws
from tests.support.batches import APP
from tests.support.pairs import A, B, Pair, Stage

WHOLE = {A: (0, 30), B: (0, 30)}


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """No tables yet."""
    return Pair(str(tmp_path), request.param)


@pytest.fixture
def pair(empty: Pair) -> Pair:
    """Thirty records of each of two partitions, in three commits."""
    log = empty.log
    empty.write(*(log.batch({A: (n, n + 10), B: (n, n + 10)}) for n in (0, 10, 20)))
    return empty


def kinds(report: Report) -> set[FindingKind]:
    """Return the kinds of the findings."""
    return {finding.kind for finding in report.findings}


def found(pair: Pair) -> set[FindingKind]:
    """Return the kinds that verify finds."""
    return kinds(verify(pair.tables))


def test_nothing_is_found_in_sound_tables(pair: Pair) -> None:
    report = verify(pair.tables)
    assert report.findings == ()
    tally = report.tallies[0]
    assert (tally.read, tally.clean, tally.quarantined) == (30, 20, 10)
    assert [t.partition for t in report.tallies] == [pair.log.partition(A), pair.log.partition(B)]
    assert [t.position for t in report.tallies] == [pair.log.position(30)] * 2


def test_nothing_is_found_where_there_are_no_tables(empty: Pair) -> None:
    assert verify(empty.tables) == Report((), ())


def test_sound_tables_in_a_bucket_are_read(aws: TestAws) -> None:
    pair = Pair(f"s3://{aws.bucket()}/lake", KINESIS, aws.config, aws.storage_options)
    pair.write(pair.log.batch(WHOLE))
    # delta-rs reads a table's history without letting other threads run, moto's server among them.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as elsewhere:
        report = elsewhere.submit(verify, pair.tables).result()
    assert report.findings == ()
    assert sum(t.clean + t.quarantined for t in report.tallies) == 60


@pytest.mark.parametrize("stage", ["clean", "rejected"])
def test_a_dropped_row_is_missing(pair: Pair, stage: Stage) -> None:
    pair.drop(stage, A, 13 if stage == "clean" else 12)
    report = verify(pair.tables)
    assert kinds(report) == {FindingKind.MISSING}
    assert {f.partition for f in report.findings} == {pair.log.partition(A)}
    assert pair.uri(stage) in report.findings[0].detail


@pytest.mark.parametrize("stage", ["clean", "rejected"])
def test_a_doubled_file_is_a_duplicate(pair: Pair, stage: Stage) -> None:
    (first, *_) = pair.table(stage).file_uris()
    write_deltalake(pair.uri(stage), pl.read_parquet(first), mode="append")
    assert found(pair) == {FindingKind.DUPLICATE}


def test_a_double_does_not_hide_a_drop_beside_it(pair: Pair) -> None:
    pair.drop("clean", A, 13)
    twin = pl.read_delta(pair.uri("clean")).filter(pl.col("ind") == 14)
    write_deltalake(pair.uri("clean"), twin.head(1), mode="append")
    assert found(pair) == {FindingKind.DUPLICATE, FindingKind.MISSING}


def test_a_record_in_both_tables_is_a_duplicate(pair: Pair) -> None:
    row = pl.read_delta(pair.uri("rejected")).head(1)
    none = pl.read_delta(pair.uri("clean")).clear()
    same = row.select(name for name in none.columns if name in row.columns)
    write_deltalake(pair.uri("clean"), pl.concat([none, same], how="diagonal"), mode="append")
    assert found(pair) == {FindingKind.DUPLICATE, FindingKind.SURPLUS}


def test_a_foreign_row_beyond_the_position_is_found(pair: Pair) -> None:
    foreign = pair.log.batch({A: (31, 32)}).clean
    write_deltalake(pair.uri("clean"), foreign, mode="append")
    assert found(pair) == {FindingKind.POSITION}


@pytest.mark.parametrize("stage", ["clean", "rejected"])
@pytest.mark.parametrize("count", [7, 35], ids=["rewound", "advanced"])
def test_a_moved_position_is_found(pair: Pair, stage: Stage, count: int) -> None:
    position = pair.log.position(count)
    assert position is not None
    pair.move(stage, A, position)
    assert FindingKind.POSITION in found(pair)


def test_rows_written_again_after_a_rewind_are_found(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = pair.log.position(20)
    assert position is not None
    pair.move("clean", A, position)
    monkeypatch.setattr(
        "sinks.delta.position_checks.refuse_rewound", lambda *_: None
    )  # a writer that trusts it
    pair.write(pair.log.batch({A: (20, 40)}))
    assert {FindingKind.DUPLICATE, FindingKind.LEDGER} <= found(pair)


def test_a_limb_of_another_commit_is_found(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KINESIS)
    pair.write(pair.log.batch(WHOLE))
    own = positions.app_id(APP, pair.log.partition(A))
    pair.commit("clean", [Transaction(f"{own}/limb1", 7, 1)])
    report = verify(pair.tables)
    assert kinds(report) == {FindingKind.POSITION}
    assert any("damaged" in finding.detail for finding in report.findings)


def test_a_quarantine_that_is_gone_is_behind(pair: Pair) -> None:
    shutil.rmtree(pair.uri("rejected"))
    assert found(pair) == {FindingKind.BEHIND}


def test_a_crash_between_the_two_tables_is_behind_until_the_restart(pair: Pair) -> None:
    batch = pair.log.batch({A: (30, 40)})
    pair.write(batch, stages=("clean",))
    assert found(pair) == {FindingKind.BEHIND}
    pair.write(batch)
    assert found(pair) == set()


def _break(entry: str) -> str:
    return entry.replace('"ranges"', '"rang')


def _miscount(entry: str) -> str:
    tree = json.loads(entry)
    tree["ranges"][0]["clean"] += 1
    return json.dumps(tree)


def _shorten(entry: str) -> str:
    tree = json.loads(entry)
    tree["ranges"] = tree["ranges"][1:]
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (_break, FindingKind.LEDGER),
        (_miscount, FindingKind.MISSING),
        (_shorten, FindingKind.LEDGER),
    ],
)
def test_a_damaged_ledger_is_found(
    pair: Pair, damage: Callable[[str], str], wanted: FindingKind
) -> None:
    path = pair.logs("clean")[2]
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    (info,) = [a["commitInfo"] for a in actions if "commitInfo" in a]
    info["pinpip"] = damage(info["pinpip"])
    path.write_text("\n".join(map(json.dumps, actions)))
    assert wanted in found(pair)


def test_a_log_that_cannot_be_read_is_one_clear_error(pair: Pair) -> None:
    pair.logs("clean")[1].write_text("{not json")
    with pytest.raises(SinkError, match="clean"):
        verify(pair.tables)


def test_a_compacted_table_is_sound(pair: Pair) -> None:
    pair.table("clean").optimize.compact()
    assert found(pair) == set()


def test_offsets_that_hold_no_record_are_explained_by_the_ledger(pair: Pair) -> None:
    pair.write(pair.log.without_rows({A: (30, 35)}), pair.log.batch({A: (35, 40)}))
    report = verify(pair.tables)
    assert report.findings == ()
    assert report.tallies[0].read == 35


def test_records_that_the_transform_filtered_out_are_explained_by_the_ledger(pair: Pair) -> None:
    batch = pair.log.batch({A: (30, 40)})
    pair.write(replace(batch, clean=batch.clean.clear()))
    report = verify(pair.tables)
    assert report.findings == ()
    assert (report.tallies[0].read, report.tallies[0].clean) == (40, 20)


def test_what_is_committed_while_verify_reads_is_not_looked_at(pair: Pair) -> None:
    opened = snapshots(pair.tables)
    pair.write(pair.log.batch({A: (30, 40), B: (30, 35)}), pair.log.batch({A: (40, 45)}))
    report = prove(*opened)
    assert report.findings == ()
    assert [t.clean + t.quarantined for t in report.tallies] == [30, 30]
    assert [commit.version for commit, _ in opened[0].commits()] == [3, 2, 1]
    assert [commit.version for commit, _ in opened[0].commits(2)] == [3, 2]


def test_dense_rows_are_sound_when_the_log_has_expired(pair: Pair) -> None:
    pair.forget("clean", but=1)
    pair.write(pair.log.batch({A: (30, 40)}))
    report = verify(pair.tables)
    assert report.findings == ()
    assert [tally.read for tally in report.tallies] == [40, 30]
    pair.forget("clean")
    assert found(pair) == set()


def test_a_gap_is_found_when_the_log_has_expired(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch(WHOLE))
    pair.drop("clean", A, 13)
    pair.forget("clean")
    pair.forget("rejected")
    report = verify(pair.tables)
    assert kinds(report) == {FindingKind.GAP}
    assert report.findings[0].detail.startswith("1 offsets between 0 and 30 ")


def test_a_lost_tail_is_found_when_the_log_has_expired(pair: Pair) -> None:
    for n in (28, 29):
        pair.drop("clean", A, n)
    pair.forget("clean")
    pair.forget("rejected")
    assert found(pair) == {FindingKind.GAP}


def test_a_report_is_json(pair: Pair) -> None:
    pair.drop("clean", A, 13)
    tree = json.loads(json.dumps(asdict(verify(pair.tables))))
    assert tree["findings"][0]["kind"] == "missing"
    assert tree["tallies"][1]["clean"] == 20


def test_only_ranges_with_expired_offsets_are_compared_with_every_other(pair: Pair) -> None:
    clean, _ = snapshots(pair.tables)
    held = clean.held(pair.log.partition(A), None)
    assert (len(held.ranges), held.gaps) == (3, [])
    if pair.coordinates is KAFKA:
        gap = replace(held.ranges[1], expired=4)
        assert replace(held, ranges=[held.ranges[0], gap]).gaps == [(10, 14)]


def test_the_rows_that_were_read_are_told_of_all_rows(pair: Pair) -> None:
    told: list[tuple[str, int, int]] = []
    prove(*snapshots(pair.tables), watch=lambda *now: told.append(now))
    assert told[:3] == [("rows", 0, 60), ("rows", 40, 60), ("rows", 60, 60)]


@pytest.mark.slow
@pytest.mark.parametrize("commits", [4, 40])
def test_the_work_does_not_grow_with_commits_and_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    batches = [pair.log.batch({A: (n, n + 3), B: (n, n + 3)}) for n in range(0, 3 * commits, 3)]
    pair.write(*batches)
    pair.archived(*batches)
    work: Counter[str] = Counter()
    for owner, name in ((TableReader, "scan"), (history, "commits"), (chain, "find")):
        monkeypatch.setattr(owner, name, _counted(work, name, getattr(owner, name)))
    assert verify(pair.tables, [pair.archive]).findings == ()
    assert work == {"scan": 2, "commits": 2, "find": 2 * commits}


def _counted(work: Counter[str], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        work[name] += 1
        return call(*arguments)

    return counted
