"""Records that `where` leaves out: verify counts them, and misses none that it should miss."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from audit.invariants import FindingKind
from audit.verify import Report, prove, snapshots
from core.batch import CLAIMED, KAFKA, KINESIS, Batch
from tests.support.batches import APP
from tests.support.pairs import A, B, Pair


def shared(batch: Batch) -> Batch:
    """Leave out every record with an odd key; another pipeline takes those that end in 1."""
    key = pl.col(batch.coordinates.key)
    odd = key.str.slice(-1).cast(pl.Int64) % 2 == 1
    out = batch.raw.filter(odd).select(*batch.coordinates.metadata)
    raw, clean, rejected = (f.remove(odd) for f in (batch.raw, batch.clean, batch.rejected))
    claimed = out.with_columns(key.str.ends_with("1").alias(CLAIMED))
    return replace(batch, raw=raw, clean=clean, rejected=rejected, left_out=claimed)


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Thirty records of two partitions in three commits; half of them are left out."""
    made = Pair(str(tmp_path), request.param)
    batches = [shared(made.log.batch({A: (n, n + 10), B: (n, n + 10)})) for n in (0, 10, 20)]
    made.write(*batches)
    made.archived(*batches)
    return made


def proven(pair: Pair) -> Report:
    """Run verify where the source lists both partitions."""
    listed = [pair.log.partition(n) for n in (A, B)]
    return prove(*snapshots(pair.tables), [pair.archive], listed=listed)


def counts(report: Report) -> list[tuple[int, ...]]:
    names = ("read", "clean", "quarantined", "filtered", "left_out")
    return [tuple(getattr(t, name) for name in names) for t in report.tallies]


def test_what_is_left_out_is_counted_and_nothing_is_missing(pair: Pair) -> None:
    report = proven(pair)
    assert (report.findings, report.unknown) == ((), ())
    assert counts(report) == [(30, 10, 5, 15, 15)] * 2
    assert [chain.records for chain in report.chains] == [15, 15]


def test_the_totals_are_in_the_clean_table(pair: Pair) -> None:
    lookup = pair.table("clean").transaction_version
    own = f"{APP}/{pair.log.partition(A).source}/{pair.log.partition(A).id}"
    assert (lookup(f"{own}/left_out"), lookup(f"{own}/unclaimed")) == (15, 12)
    assert pair.table("rejected").transaction_version(f"{own}/left_out") is None


def test_a_lost_row_is_missing_beside_those_that_are_left_out(pair: Pair) -> None:
    pair.drop("clean", A, 14)
    assert {f.kind for f in proven(pair).findings} == {FindingKind.MISSING}


def test_a_sink_that_is_ahead_within_a_batch_counts_only_what_is_new(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    first, both = (shared(pair.log.batch({A: (0, end)})) for end in (7, 20))
    pair.write(first, stages=("clean",))
    pair.write(both)
    pair.archived(both)
    report = proven(pair)
    assert report.findings == ()
    assert counts(report) == [(20, 6, 4, 10, 10)]
    own = f"{APP}/{pair.log.partition(A).source}/{pair.log.partition(A).id}"
    assert pair.table("clean").transaction_version(f"{own}/left_out") == 10


@pytest.mark.parametrize("but", [0, 1])
@pytest.mark.parametrize("lost", [False, True])
def test_the_totals_outlive_the_log(tmp_path: Path, *, but: int, lost: bool) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    batches = [shared(pair.log.batch({A: (n, n + 10)})) for n in (0, 10, 20)]
    spans = {p: replace(span, start=None) for p, span in batches[0].spans.items()}
    pair.write(replace(batches[0], spans=spans), *batches[1:])
    pair.archived(replace(batches[0], spans=spans), *batches[1:])
    if lost:
        pair.drop("clean", A, 4)
    pair.forget("clean", but=but)
    pair.forget("rejected", but=but)
    report = proven(pair)
    assert {f.kind for f in report.findings} == ({FindingKind.GAP} if lost else set())
    assert report.unknown == ()
    assert counts(report) == [(30 - lost, 10 - lost, 5, 15, 15)]


def test_the_last_records_of_a_shard_may_be_left_out_once_the_log_has_expired(
    tmp_path: Path,
) -> None:
    pair = Pair(str(tmp_path), KINESIS)
    pair.write(shared(pair.log.batch({A: (0, 10)})))  # the last record is left out
    pair.forget("clean")
    pair.forget("rejected")
    report = prove(*snapshots(pair.tables), [], listed=[pair.log.partition(A)])
    assert report.findings == ()
    assert len(report.unknown) == 1


def test_a_commit_with_more_rows_than_were_taken_is_a_difference(pair: Pair) -> None:
    batch = shared(pair.log.batch({A: (30, 40)}))
    assert batch.left_out is not None
    taken_too = batch.raw.select(batch.left_out.columns[:-1]).with_columns(
        claimed=pl.lit(value=True)
    )
    both = pl.concat([batch.left_out, taken_too])
    pair.write(replace(batch, raw=batch.raw.head(1), left_out=both.tail(9)))
    assert FindingKind.TRANSFORM in {f.kind for f in proven(pair).findings}
