"""verify finds what is wrong with the chains of an archive."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from audit.archive import ChainSummary
from audit.invariants import FindingKind
from audit.verify import Report, verify
from core.batch import KAFKA, KINESIS
from sinks.parquet.chain import Link, links
from tests.support.aws import TestAws
from tests.support.pairs import A, B, Pair


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Thirty records of each of two partitions, in three commits and three objects of each."""
    return filled(Pair(str(tmp_path), request.param))


def filled(pair: Pair) -> Pair:
    """Written by one consumer."""
    batches = [pair.log.batch({A: (n, n + 10), B: (n, n + 10)}) for n in (0, 10, 20)]
    pair.write(*batches)
    pair.archived(*batches)
    return pair


def examined(pair: Pair) -> Report:
    """Run verify on the pair."""
    return verify(pair.tables, [pair.archive])


def told(pair: Pair) -> list[tuple[FindingKind, str]]:
    """Return the findings of verify with their details."""
    return [(f.kind, f.detail) for f in examined(pair).findings]


def test_a_sound_chain_is_counted(pair: Pair) -> None:
    report = examined(pair)
    assert report.findings == ()
    first = pair.log.partition(A)
    start, end = report.chains[0].start, pair.log.position(30)
    assert report.chains[0] == ChainSummary(pair.uri("archive"), first, 3, 30, start, end)
    assert len(report.chains) == 2


def test_a_chain_in_a_bucket_is_read(aws: TestAws) -> None:
    pair = Pair(f"s3://{aws.bucket()}/lake", KAFKA, aws.config, aws.storage_options)
    pair.archived(*[pair.log.batch({A: (n, n + 10)}) for n in (0, 10, 20)])
    chain = list(links(pair.archive.store, pair.archive.keys(pair.log.partition(A))))
    assert [
        (link.start.number, link.end.number, link.records)
        for link in chain
        if isinstance(link, Link)
    ] == [(n, n + 10, 10) for n in (0, 10, 20)]


def test_an_object_removed_from_the_middle_breaks_the_chain(pair: Pair) -> None:
    gone = pair.objects(A)[1]
    gone.unlink()
    [(kind, detail), *_] = told(pair)
    assert kind is FindingKind.ARCHIVE
    assert pair.objects(A)[0].name in detail
    assert pair.objects(A)[1].name in detail


def test_an_object_that_took_anothers_name_is_found(pair: Pair) -> None:
    first, second, _ = pair.objects(A)
    second.write_bytes(first.read_bytes())
    assert any("says that it starts at" in detail for _, detail in told(pair))


@pytest.mark.parametrize("body", [b"", b"nonsense"])
def test_an_object_that_says_nothing_is_found(pair: Pair, body: bytes) -> None:
    pair.objects(B)[1].write_bytes(body)
    [(kind, detail)] = told(pair)
    assert kind is FindingKind.ARCHIVE
    assert "does not say where it ends" in detail


def test_an_object_that_lost_a_row_disagrees_with_the_ledger(pair: Pair) -> None:
    path = pair.objects(A)[1]
    about = json.loads(pl.read_parquet_metadata(path)["pinpip"])
    shorter = {"pinpip": json.dumps(about | {"records": 9})}
    pl.read_parquet(path).head(9).write_parquet(path, metadata=shorter)
    [(kind, detail)] = told(pair)
    assert kind is FindingKind.ARCHIVE
    assert "9 records instead of 10 between" in detail


def test_an_archive_that_lost_its_newest_object_is_behind(pair: Pair) -> None:
    pair.objects(A)[-1].unlink()
    assert [kind for kind, _ in told(pair)] == [FindingKind.BEHIND]


def test_the_oldest_objects_may_expire(pair: Pair) -> None:
    pair.objects(A)[0].unlink()
    report = examined(pair)
    assert report.findings == ()
    assert report.chains[0].start == pair.log.position(10)


# --- Beside a consumer that holds rows for the archive


def beside_a_consumer(pair: Pair, seconds: float) -> Report:
    """Run verify on an archive that lacks each partition's last ten records.

    What was committed in the last `seconds` may be held.
    """
    for index in (A, B):
        pair.objects(index)[-1].unlink()
    due = datetime.now(UTC) - timedelta(seconds=seconds)
    return verify(pair.tables, [replace(pair.archive, due=due)])


def test_records_that_the_consumer_may_hold_are_counted_and_no_difference(pair: Pair) -> None:
    report = beside_a_consumer(pair, 3600)
    assert report.findings == ()
    assert [chain.waiting for chain in report.chains] == [10, 10]
    assert [chain.end for chain in report.chains] == [pair.log.position(20)] * 2


def test_records_that_the_archive_should_have_by_now_are_a_difference(pair: Pair) -> None:
    report = beside_a_consumer(pair, -1)
    assert [finding.kind for finding in report.findings] == [FindingKind.BEHIND] * 2
    assert [chain.waiting for chain in report.chains] == [0, 0]


def test_records_whose_commit_is_no_longer_in_the_log_should_be_archived(pair: Pair) -> None:
    pair.forget("clean")
    report = beside_a_consumer(pair, 3600)
    assert {finding.kind for finding in report.findings} == {FindingKind.BEHIND}


def test_an_older_commit_that_the_archive_lacks_is_not_hidden_by_a_newer_one(pair: Pair) -> None:
    pair.objects(A)[-1].unlink()
    pair.objects(A)[-1].unlink()
    pair.forget("clean", but=1)
    due = datetime.now(UTC) - timedelta(hours=1)
    report = verify(pair.tables, [replace(pair.archive, due=due)])
    assert [finding.kind for finding in report.findings] == [FindingKind.BEHIND]


def test_objects_that_come_after_the_archive_was_listed_are_not_ahead_of_the_tables(
    pair: Pair,
) -> None:
    listed = pair.archive
    listed.look([pair.log.source])
    pair.archived(pair.log.batch({A: (30, 40)}))
    assert verify(pair.tables, [listed]).findings == ()
    [finding] = examined(pair).findings
    assert finding.kind is FindingKind.BEHIND
