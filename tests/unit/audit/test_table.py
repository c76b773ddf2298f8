"""One test for each line of the table in docs/exactly-once.md: damage exactly that, and see it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from audit.invariants import FindingKind
from audit.verify import Report, prove, snapshots
from core.batch import KAFKA, KINESIS, Partition
from pinpip.cli.verdict import print_verdict
from pinpip.verify.conclusion import exit_code
from pinpip.verify.verdict import Verdict
from tests.support.pairs import A, B, Pair


def filled(folder: Path, coordinates: Any = KAFKA, first: int = 0) -> Pair:
    """Thirty records of two partitions, in three commits and three objects of each."""
    pair = Pair(str(folder), coordinates)
    batches = [
        pair.log.batch({A: (n, n + 10), B: (n, n + 10)}) for n in range(first, first + 30, 10)
    ]
    spans = {p: replace(span, start=None) for p, span in batches[0].spans.items()}
    batches[0] = replace(batches[0], spans=spans)
    pair.write(*batches)
    pair.archived(*batches)
    return pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return filled(tmp_path)


def proven(pair: Pair) -> Report:
    """Run verify where the source lists both partitions."""
    listed = [pair.log.partition(n) for n in (A, B)]
    return prove(*snapshots(pair.tables), [pair.archive], listed=listed)


def kinds(pair: Pair) -> set[FindingKind]:
    return {finding.kind for finding in proven(pair).findings}


def forget(pair: Pair) -> None:
    """Expire both logs without the sums that pinpip's own clean-up leaves."""
    pair.forget("clean")
    pair.forget("rejected")


def delete(pair: Pair, where: str) -> None:
    """Delete rows from both tables, as another engine does."""
    for stage in ("clean", "rejected"):
        pair.table(stage).delete(where)


def _lose_without_a_log(pair: Pair) -> None:
    delete(pair, "_offset = 13")
    forget(pair)


def _forge(pair: Pair) -> None:
    """Write a ledger entry of a transform that makes two rows of each record."""
    path = pair.logs("clean")[2]
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    (info,) = [a["commitInfo"] for a in actions if "commitInfo" in a]
    entry = json.loads(info["pinpip"])
    entry["ranges"][0]["in"] = 5
    info["pinpip"] = json.dumps(entry)
    path.write_text("\n".join(map(json.dumps, actions)))


def test_nothing_is_found_or_unknown_before_the_damage(pair: Pair) -> None:
    report = proven(pair)
    assert (report.findings, report.unknown) == ((), ())


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        pytest.param(lambda p: p.drop("clean", A, 13), FindingKind.MISSING, id="rows"),
        pytest.param(lambda p: p.drop("rejected", A, 12), FindingKind.MISSING, id="quarantine"),
        pytest.param(
            lambda p: shutil.rmtree(p.uri("rejected")), FindingKind.BEHIND, id="quarantine table"
        ),
        pytest.param(_forge, FindingKind.TRANSFORM, id="transform"),
        pytest.param(
            lambda p: p.move("clean", A, p.log.position(7)), FindingKind.POSITION, id="position"
        ),
        pytest.param(lambda p: p.objects(A)[1].unlink(), FindingKind.ARCHIVE, id="archive"),
        pytest.param(lambda p: p.objects(A)[2].unlink(), FindingKind.BEHIND, id="archive's end"),
        pytest.param(_lose_without_a_log, FindingKind.GAP, id="rows without a log"),
    ],
)
def test_exactly_that_damage_is_found(
    pair: Pair, damage: Callable[[Pair], object], found: FindingKind
) -> None:
    damage(pair)
    assert found in kinds(pair)


def test_a_partition_without_rows_and_log_is_known_by_its_position(pair: Pair) -> None:
    delete(pair, "_partition = 1")
    forget(pair)
    report = proven(pair)
    assert pair.log.partition(B) in {t.partition for t in report.tallies}
    [unknown] = report.unknown
    assert unknown.partition == pair.log.partition(B)
    assert "no row is from before it" in unknown.detail


def test_a_partition_that_only_the_archive_holds_is_behind(pair: Pair) -> None:
    shutil.rmtree(pair.uri("clean"))
    shutil.rmtree(pair.uri("rejected"))
    report = proven(pair)
    assert {t.partition for t in report.tallies} == {pair.log.partition(n) for n in (A, B)}
    assert {f.kind for f in report.findings} == {FindingKind.BEHIND}


def test_rows_before_the_first_one_are_not_known_once_the_log_has_expired(tmp_path: Path) -> None:
    pair = filled(tmp_path, first=5)
    forget(pair)
    report = proven(pair)
    assert report.findings == ()
    assert {u.partition for u in report.unknown} == {pair.log.partition(n) for n in (A, B)}
    assert "the first row is offset 5" in report.unknown[0].detail


def test_rows_of_a_stream_are_not_known_once_the_log_has_expired(tmp_path: Path) -> None:
    pair = filled(tmp_path, KINESIS)
    assert proven(pair).unknown == ()
    pair.drop("clean", A, 13)
    forget(pair)
    report = proven(pair)
    assert report.findings == ()
    assert {u.partition for u in report.unknown} == {pair.log.partition(n) for n in (A, B)}


def test_compaction_by_another_engine_is_no_difference(pair: Pair) -> None:
    pair.table("clean").optimize.compact()
    DeltaTable(pair.uri("clean")).vacuum(0, dry_run=False, enforce_retention_duration=False)
    report = proven(pair)
    assert (report.findings, report.unknown) == ((), ())


def test_filtered_records_are_counted(pair: Pair) -> None:
    batch = pair.log.batch({A: (30, 40)})
    pair.write(replace(batch, clean=batch.clean.head(2)))
    pair.archived(batch)
    [tally, _] = proven(pair).tallies
    assert (tally.read, tally.clean, tally.quarantined, tally.filtered) == (40, 22, 14, 4)
    assert tally.read == tally.clean + tally.quarantined + tally.filtered + tally.expired


# --- in words


def verdict(**own: Any) -> Verdict:
    """Return the verdict on a sound pipeline of ten rows."""
    names = ("quarantined", "filtered", "left_out", "expired", "accepted_gaps", "held_back")
    counts = dict.fromkeys((*names, "waiting"), 0)
    lists: dict[str, list[Any]] = {
        key: [] for key in ("findings", "unknown", "by_partition", "archives")
    }
    rest = {"offline": False, "reread": None, "transform": "m:clean", "partitions": 1}
    sums = {"pipeline": "pin", "read": 10, "clean": 10}
    return Verdict.model_validate({**sums, **counts, **lists, **rest, **own})


GONE = {"kind": "missing", "where": "t/0", "detail": "1 row"}
SOUND = "exactly once: 10 rows, none missing, none twice"
DOUBT = {"where": "t/0", "detail": "who knows"}


@pytest.mark.parametrize(
    ("own", "code", "line"),
    [
        ({}, 0, SOUND),
        ({"findings": [GONE]}, 3, "1 differences found"),
        ({"unknown": [DOUBT]}, 4, "not known whether any are missing: 10 rows, none twice"),
        (
            {"findings": [GONE], "unknown": [DOUBT]},
            3,
            "1 differences found, 1 things are not known",
        ),
        (
            {"held_back": 11},
            0,
            f"{SOUND}; 11 held back behind an open transaction",
        ),
        (
            {"filtered": 2, "expired": 300},
            0,
            f"{SOUND}; 300 expired unread (accepted); 2 filtered by m:clean",
        ),
        (
            {"filtered": 9, "left_out": 7},
            0,
            f"{SOUND}; 7 not taken by `where`; 2 filtered by m:clean",
        ),
        ({"filtered": 7, "left_out": 7}, 0, f"{SOUND}; 7 not taken by `where`"),
    ],
)
def test_the_verdict_is_one_line(
    capsys: pytest.CaptureFixture[str], own: dict[str, Any], code: int, line: str
) -> None:
    verdicts = [verdict(**own)]
    assert exit_code(verdicts) == code
    print_verdict(verdicts)
    assert capsys.readouterr().out.strip().splitlines()[-1] == line


def test_many_places_with_one_reason_are_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_verdict(
        [verdict(unknown=[DOUBT | {"where": str(Partition("t", str(n)))} for n in range(9)])]
    )
    assert "t/0 and 8 more" in capsys.readouterr().out
