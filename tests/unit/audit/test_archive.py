"""verify finds what is wrong with the chains of an archive."""

import json
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
