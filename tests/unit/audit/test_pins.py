"""The first offset that is fixed at a first start proves that the first rows are there."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from audit.invariants import FindingKind
from audit.verify import Report, prove, snapshots, verify
from core.batch import KAFKA, Batch
from core.clock import SystemClock
from core.origins import Begin, Start
from sinks.delta.sink import DeltaSink
from sinks.storage.store import open_store
from tests.support.batches import begin, delta_target
from tests.support.pairs import A, B, Pair

LOW = 5


@pytest.fixture
def empty(tmp_path: Path) -> Pair:
    return Pair(str(tmp_path), KAFKA)


def pin(pair: Pair, begins: Mapping[int, Begin]) -> None:
    """Fix the beginnings as a consumer does at its first start."""
    uri = pair.uri("clean")
    target = delta_target(uri, dict, KAFKA, "clean")
    sink = DeltaSink("clean", target, open_store(uri, pair.aws), SystemClock())
    with closing(sink):
        sink.pin({pair.log.source: Start({pair.log.partition(n): b for n, b in begins.items()})})


@pytest.fixture
def pair(empty: Pair) -> Pair:
    """Partition A began at offset 5 and is at 30; B began at 5 and has no record yet."""
    pin(empty, {A: begin(LOW, 9), B: begin(LOW, LOW)})
    empty.write(first(empty, LOW, LOW + 10), empty.log.batch({A: (LOW + 10, LOW + 20)}))
    return empty


def first(pair: Pair, begin: int, end: int) -> Batch:
    """Return the first batch of A: the quarantine has no rows yet."""
    batch = pair.log.batch({A: (begin, end)})
    return replace(batch, spans={p: replace(s, start=None) for p, s in batch.spans.items()})


def forget(pair: Pair, but: int = 0) -> None:
    """Expire both logs without the sums that pinpip's own clean-up leaves."""
    pair.forget("clean", but=but)
    pair.forget("rejected")


def lose(pair: Pair, start: int, end: int) -> None:
    """Delete the rows of A's offsets [start, end) from both tables, as another engine does."""
    for stage in ("clean", "rejected"):
        pair.table(stage).delete(f"_partition = {A} AND _offset >= {start} AND _offset < {end}")


def said(report: Report) -> list[tuple[str, str]]:
    return [(f.kind, f.detail.partition(" are in")[0]) for f in report.findings]


@pytest.mark.parametrize("but", [0, 1], ids=["no log", "one commit"])
@pytest.mark.parametrize(("start", "end"), [(5, 8), (5, 6), (5, 15), (7, 8)])
def test_lost_first_rows_are_found_also_without_a_log(
    pair: Pair, start: int, end: int, but: int
) -> None:
    """The newest commit may still be there; rows before its range have no other witness."""
    lose(pair, start, end)
    pair.write(pair.log.batch({A: (25, 30)}))
    forget(pair, but)
    report = verify(pair.tables)
    edge = 25 if but else 30
    assert said(report) == [(FindingKind.GAP, f"{end - start} offsets between 5 and {edge}")]
    assert report.unknown == ()


def test_all_rows_lost_with_the_log_are_found(pair: Pair) -> None:
    lose(pair, 0, 99)
    forget(pair)
    report = prove(*snapshots(pair.tables), listed=[pair.log.partition(A)])
    assert said(report) == [(FindingKind.GAP, "20 offsets between 5 and 25")]


@pytest.mark.parametrize("but", [0, 1])
def test_rows_from_the_first_offset_on_leave_nothing_unknown(pair: Pair, but: int) -> None:
    forget(pair, but)
    report = verify(pair.tables)
    assert (report.findings, report.unknown) == ((), ())


def test_an_accepted_gap_near_the_first_offset_is_no_loss(empty: Pair) -> None:
    pin(empty, {A: begin(LOW, 9), B: begin(0, 0)})
    empty.write(first(empty, LOW, 8), empty.log.after_gap(empty.log.batch({A: (12, 20)}), A, 8))
    forget(empty)
    report = verify(empty.tables)
    assert (report.findings, report.unknown) == ((), ())


def test_a_row_lost_before_an_accepted_gap_is_found(empty: Pair) -> None:
    pin(empty, {A: begin(LOW, 9), B: begin(0, 0)})
    empty.write(first(empty, LOW, 8), empty.log.after_gap(empty.log.batch({A: (12, 20)}), A, 8))
    lose(empty, 5, 6)
    forget(empty)
    assert said(verify(empty.tables)) == [(FindingKind.GAP, "1 offsets between 5 and 20")]


def old(pair: Pair, low: int, *, latest: bool) -> None:
    """Pin an older table of offsets 5 to 24 while the topic has `low` to 24."""
    pair.write(first(pair, LOW, 25))
    pin(pair, {A: begin(low, 25, latest=latest), B: begin(0, 0, latest=latest)})


def test_an_old_table_that_may_have_begun_later_gives_no_false_alarm(empty: Pair) -> None:
    old(empty, 0, latest=True)
    forget(empty)
    report = verify(empty.tables)
    assert report.findings == ()
    [unknown] = report.unknown
    assert "the first row is offset 5" in unknown.detail


def test_an_old_table_must_be_dense_from_its_first_row_on(empty: Pair) -> None:
    old(empty, 9, latest=False)
    lose(empty, 8, 10)
    forget(empty)
    assert said(verify(empty.tables)) == [(FindingKind.GAP, "2 offsets between 5 and 25")]


def test_an_old_table_must_have_what_the_topic_still_held(empty: Pair) -> None:
    old(empty, 9, latest=False)
    lose(empty, 5, 12)
    forget(empty)
    assert said(verify(empty.tables)) == [(FindingKind.GAP, "3 offsets between 9 and 25")]
