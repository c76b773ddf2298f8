"""verify finds every damage that is done to a table, and nothing where none was done."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from pinpip.batch import KAFKA, KINESIS, Batch, Coordinates, Position
from pinpip.clock import SystemClock
from pinpip.config import Aws
from pinpip.errors import SinkError
from sinks import guard, transactions
from sinks.delta import DeltaSink
from sinks.proof import Kind
from sinks.store import open_store
from sinks.verify import Report, Tables, verify
from tests.support.aws import TestAws
from tests.support.batches import APP, Log, delta_target

A, B = 0, 1
WHOLE = {A: (0, 30), B: (0, 30)}
Stage = Literal["clean", "rejected"]


@dataclass(frozen=True)
class Pair:
    """A clean table and its quarantine, written by real sinks."""

    root: str
    coordinates: Coordinates
    aws: Aws = field(default_factory=Aws)
    options: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Log:
        """What they are written from."""
        return Log(self.coordinates)

    @property
    def tables(self) -> Tables:
        """What verify is told."""
        return Tables(self.uri("clean"), self.uri("rejected"), self.options, self.coordinates, APP)

    def uri(self, stage: Stage) -> str:
        """One of the two."""
        return f"{self.root}/{stage}"

    def table(self, stage: Stage) -> DeltaTable:
        """One of the two, opened."""
        return DeltaTable(self.uri(stage), storage_options=self.options)

    def write(self, *batches: Batch, stages: tuple[Stage, ...] = ("clean", "rejected")) -> None:
        """What a consumer does from its start to its clean stop."""
        for stage in stages:
            uri = self.uri(stage)
            where = delta_target(uri, self.options, self.coordinates, stage)
            sink = DeltaSink(stage, where, open_store(uri, self.aws), SystemClock())
            with closing(sink):
                sink.positions([self.log.partition(A), self.log.partition(B)])
                for batch in batches:
                    sink.write(batch)

    def drop(self, stage: Stage, index: int, n: int) -> None:
        """Lose the nth record of a partition."""
        (row,) = self.rows(stage).filter(pl.col("_key") == f"key-{n}").rows(named=True)[:1]
        names = [name for name in self.coordinates.identity if name != self.coordinates.partition]
        partition = self.log.partition(index).id
        same = [f"{name} = {_sql(row[name])}" for name in names]
        same.append(f"CAST({self.coordinates.partition} AS STRING) = '{partition}'")
        assert self.table(stage).delete(" AND ".join(same))["num_deleted_rows"] == 1

    def rows(self, stage: Stage) -> pl.DataFrame:
        """All rows, with the key column under one name."""
        frame = pl.read_delta(self.uri(stage), storage_options=self.options)
        return frame.with_columns(pl.col(self.coordinates.key).alias("_key"))

    def commit(self, stage: Stage, transactions: list[Transaction]) -> None:
        """Another hand's commit: positions, no rows, no ledger entry."""
        table = self.table(stage)
        table.create_write_transaction(
            [],
            "append",
            table.schema(),
            commit_properties=CommitProperties(app_transactions=transactions),
        )

    def move(self, stage: Stage, index: int, position: Position) -> None:
        """Put the stored position of a partition elsewhere."""
        own = transactions.app_id(APP, self.log.partition(index))
        lookup = self.table(stage).transaction_version
        self.commit(stage, transactions.write(lookup, own, position, self.coordinates, 1))

    def logs(self, stage: Stage) -> list[Path]:
        """The JSON commits, oldest first."""
        return sorted(Path(self.uri(stage), "_delta_log").glob("*.json"))

    def forget(self, stage: Stage, *, but: int = 0) -> None:
        """Expire the log but for its newest commits; a checkpoint stays."""
        self.table(stage).create_checkpoint()
        logs = self.logs(stage)
        for path in logs[: len(logs) - but]:
            path.unlink()


def _sql(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


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


def kinds(report: Report) -> set[Kind]:
    """What was found."""
    return {finding.kind for finding in report.findings}


def found(pair: Pair) -> set[Kind]:
    """What verify finds."""
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
    assert kinds(report) == {Kind.MISSING}
    assert {f.partition for f in report.findings} == {pair.log.partition(A)}
    assert pair.uri(stage) in report.findings[0].detail


@pytest.mark.parametrize("stage", ["clean", "rejected"])
def test_a_doubled_file_is_a_duplicate(pair: Pair, stage: Stage) -> None:
    (first, *_) = pair.table(stage).file_uris()
    write_deltalake(pair.uri(stage), pl.read_parquet(first), mode="append")
    assert found(pair) == {Kind.DUPLICATE}


def test_a_double_does_not_hide_a_drop_beside_it(pair: Pair) -> None:
    pair.drop("clean", A, 13)
    twin = pl.read_delta(pair.uri("clean")).filter(pl.col("ind") == 14)
    write_deltalake(pair.uri("clean"), twin.head(1), mode="append")
    assert found(pair) == {Kind.DUPLICATE, Kind.MISSING}


def test_a_record_in_both_tables_is_a_duplicate(pair: Pair) -> None:
    row = pl.read_delta(pair.uri("rejected")).head(1)
    none = pl.read_delta(pair.uri("clean")).clear()
    same = row.select(name for name in none.columns if name in row.columns)
    write_deltalake(pair.uri("clean"), pl.concat([none, same], how="diagonal"), mode="append")
    assert found(pair) == {Kind.DUPLICATE, Kind.SURPLUS}


def test_a_foreign_row_beyond_the_position_is_found(pair: Pair) -> None:
    foreign = pair.log.batch({A: (31, 32)}).clean
    write_deltalake(pair.uri("clean"), foreign, mode="append")
    assert found(pair) == {Kind.POSITION}


@pytest.mark.parametrize("stage", ["clean", "rejected"])
@pytest.mark.parametrize("count", [7, 35], ids=["rewound", "advanced"])
def test_a_moved_position_is_found(pair: Pair, stage: Stage, count: int) -> None:
    position = pair.log.position(count)
    assert position is not None
    pair.move(stage, A, position)
    assert Kind.POSITION in found(pair)


def test_rows_written_again_after_a_rewind_are_found(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "refuse_rewound", lambda *_: None)  # another writer has no such
    position = pair.log.position(20)
    assert position is not None
    pair.move("clean", A, position)
    pair.write(pair.log.batch({A: (20, 40)}))
    assert {Kind.DUPLICATE, Kind.LEDGER} <= found(pair)


def test_a_limb_of_another_commit_is_found(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KINESIS)
    pair.write(pair.log.batch(WHOLE))
    own = transactions.app_id(APP, pair.log.partition(A))
    pair.commit("clean", [Transaction(f"{own}/limb1", 7, 1)])
    report = verify(pair.tables)
    assert kinds(report) == {Kind.POSITION}
    assert any("damaged" in finding.detail for finding in report.findings)


def test_a_quarantine_that_is_gone_is_behind(pair: Pair) -> None:
    shutil.rmtree(pair.uri("rejected"))
    assert found(pair) == {Kind.BEHIND}


def test_a_crash_between_the_two_tables_is_behind_until_the_restart(pair: Pair) -> None:
    batch = pair.log.batch({A: (30, 40)})
    pair.write(batch, stages=("clean",))
    assert found(pair) == {Kind.BEHIND}
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
    [(_break, Kind.LEDGER), (_miscount, Kind.MISSING), (_shorten, Kind.LEDGER)],
)
def test_a_damaged_ledger_is_found(pair: Pair, damage: Callable[[str], str], wanted: Kind) -> None:
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


def test_dense_rows_are_sound_when_the_log_has_expired(pair: Pair) -> None:
    pair.forget("clean", but=1)
    pair.write(pair.log.batch({A: (30, 40)}))
    report = verify(pair.tables)
    assert report.findings == ()
    assert [tally.read for tally in report.tallies] == [20, 10]
    pair.forget("clean")
    assert found(pair) == set()


def test_a_gap_is_found_when_the_log_has_expired(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch(WHOLE))
    pair.drop("clean", A, 13)
    pair.forget("clean")
    pair.forget("rejected")
    report = verify(pair.tables)
    assert kinds(report) == {Kind.GAP}
    assert report.findings[0].detail.startswith("1 offsets between 0 and 30 ")


def test_a_lost_tail_is_found_when_the_log_has_expired(pair: Pair) -> None:
    for n in (28, 29):
        pair.drop("clean", A, n)
    pair.forget("clean")
    pair.forget("rejected")
    assert found(pair) == {Kind.GAP}


def test_what_the_source_holds_beyond_the_tables_is_lag(pair: Pair) -> None:
    spans = pair.log.batch({A: (0, 30), B: (0, 42), 2: (0, 5)}).spans
    report = verify(pair.tables, {p: span.end for p, span in spans.items()})
    assert report.findings == ()
    assert [t.behind for t in report.tallies] == [False, True, True]
    kafka = pair.coordinates is KAFKA
    assert [t.lag for t in report.tallies] == ([0, 12, 5] if kafka else [None] * 3)


def test_a_report_is_json(pair: Pair) -> None:
    pair.drop("clean", A, 13)
    tree = json.loads(json.dumps(asdict(verify(pair.tables))))
    assert tree["findings"][0]["kind"] == "missing"
    assert tree["tallies"][1]["clean"] == 20
