"""Whose a row is survives every rewrite of its file by another engine."""

import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.invariants import FindingKind
from audit.verify import Report, verify
from core.batch import KAFKA, KINESIS, Batch
from core.clock import SystemClock
from core.errors import PositionLost
from sinks.delta import incarnation, txns
from sinks.delta.incarnation import COLUMN, folder_of
from sinks.delta.sink import DeltaSink
from sinks.storage.store import FolderStore
from tests.support import engines
from tests.support.batches import delta_target
from tests.support.examples import examples
from tests.support.pairs import A, B, Pair, Stage
from tests.support.places import TESTS

STAGES: tuple[Stage, ...] = ("clean", "rejected")
LAKE = TESTS / "lakes" / "0.1.0" / "kafka"
LATER = timedelta(days=9)


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """No tables yet."""
    return Pair(str(tmp_path), request.param)


def sink(pair: Pair, stage: Stage, life: str, *, begins: bool = False) -> DeltaSink:
    """Make a writer of this incarnation of a table that has read its positions."""
    uri = pair.uri(stage)
    target = delta_target(uri, dict, pair.coordinates, stage)
    own = replace(target, app=f"pinpip/pin/{life}", folder=folder_of(life), begins=begins)
    made = DeltaSink(stage, own, FolderStore(Path(uri)), SystemClock())
    made.positions([pair.log.partition(A), pair.log.partition(B)])
    return made


def consume(pair: Pair, life: str, *batches: Batch, begins: bool = False) -> None:
    """Write as a consumer of this incarnation does from its start to a clean stop."""
    for stage in STAGES:
        with closing(sink(pair, stage, life, begins=begins)) as own:
            for batch in batches:
                own.write(batch)


def batches(pair: Pair, *cuts: int, later: timedelta = timedelta()) -> list[Batch]:
    """Return the records of both partitions between the cuts, with times moved by a constant."""
    made = [pair.log.batch({A: cut, B: cut}) for cut in pairwise(cuts)]
    return [_moved(batch, later) for batch in made]


def _moved(batch: Batch, later: timedelta) -> Batch:
    time = pl.col("_timestamp") + later
    frames = (batch.raw, batch.clean, batch.rejected)
    raw, clean, rejected = (frame.with_columns(time) for frame in frames)
    return replace(batch, raw=raw, clean=clean, rejected=rejected)


def report(pair: Pair, life: str) -> Report:
    """Run verify on this incarnation."""
    return verify(replace(pair.tables, app=f"pinpip/pin/{life}", folder=folder_of(life)))


def counted(pair: Pair, life: str) -> int:
    """How many rows verify counts, of a life where it finds nothing and knows all."""
    found = report(pair, life)
    assert found.findings == ()
    assert found.unknown == ()
    return sum(tally.clean + tally.quarantined for tally in found.tallies)


Rewrite = Callable[[Pair], None]


def compaction(pair: Pair) -> None:
    """Delta-rs merges all files."""
    for stage in STAGES:
        assert pair.table(stage).optimize.compact()["numFilesAdded"] == 1


def ordering(pair: Pair) -> None:
    """Delta-rs writes all rows in another order."""
    for stage in STAGES:
        pair.table(stage).optimize.z_order([pair.coordinates.number])


def optimising(pair: Pair) -> None:
    """Spark merges all files, its way."""
    for stage in STAGES:
        uri = pair.uri(stage)
        engines.rewrite(uri, lambda t: t, together=True, use_deprecated_int96_timestamps=True)


def overwriting(pair: Pair) -> None:
    """Somebody reads a table and writes it back."""
    for stage in STAGES:
        whole = pl.read_delta(pair.uri(stage))
        write_deltalake(pair.uri(stage), whole.to_arrow(), mode="overwrite")


REWRITES: list[Rewrite] = [compaction, ordering, optimising, overwriting]


@pytest.mark.slow
@pytest.mark.parametrize("rewrite", REWRITES)
def test_each_life_counts_its_own_rows_after_any_rewrite(pair: Pair, rewrite: Rewrite) -> None:
    consume(pair, "1", *batches(pair, 0, 10, 20))
    consume(pair, "2", *batches(pair, 0, 5, 12), begins=True)
    rewrite(pair)
    assert (counted(pair, "1"), counted(pair, "2")) == (40, 24)
    consume(pair, "2", *batches(pair, 12, 15))
    rewrite(pair)
    consume(pair, "3", *batches(pair, 0, 30), begins=True)
    rewrite(pair)
    assert [counted(pair, life) for life in "123"] == [40, 30, 60]


def test_the_column_comes_with_the_second_life_and_is_null_in_the_first(pair: Pair) -> None:
    consume(pair, "1", *batches(pair, 0, 9))
    assert COLUMN not in pair.rows("clean").columns
    consume(pair, "2", *batches(pair, 0, 9, 12), begins=True)
    consume(pair, "2", *batches(pair, 12, 15))
    held = pair.rows("clean")
    assert pl.read_delta(pair.uri("clean")).columns[-1] == COLUMN
    assert Counter(held[COLUMN]) == {None: 12, "2": 20}
    [field] = [f for f in pair.table("clean").schema().fields if f.name == COLUMN]
    assert field.nullable
    assert sum('"metaData"' in path.read_text() for path in pair.logs("clean")) == 2


def test_a_table_whose_only_life_is_not_the_first_is_counted_after_a_compaction(
    pair: Pair,
) -> None:
    consume(pair, "7", *batches(pair, 0, 9, 12))
    compaction(pair)
    assert counted(pair, "7") == 24
    assert set(pair.rows("clean")[COLUMN]) == {"7"}


@pytest.mark.parametrize("life", ["1", "2"])
def test_a_writer_goes_on_after_a_compaction_of_two_lives(pair: Pair, life: str) -> None:
    consume(pair, "1", *batches(pair, 0, 10))
    consume(pair, "2", *batches(pair, 0, 10, 30), begins=True)
    compaction(pair)
    end = 10 if life == "1" else 30
    with closing(sink(pair, "clean", life)) as own:
        assert own.positions([pair.log.partition(A)]) == {
            pair.log.partition(A): pair.log.position(end)
        }
    consume(pair, life, *batches(pair, end, end + 10))
    assert counted(pair, life) == 2 * (end + 10)


def test_a_rewound_position_is_found_in_a_file_of_two_lives(pair: Pair) -> None:
    consume(pair, "1", *batches(pair, 0, 10, 20))
    consume(pair, "2", *batches(pair, 0, 30), begins=True)
    compaction(pair)
    to = pair.log.position(10)
    assert to is not None
    pair.move("clean", A, to)
    with pytest.raises(PositionLost, match="was moved back by another program"):
        sink(pair, "clean", "1")


def test_a_row_lost_from_a_file_of_two_lives_is_missing_in_its_own(pair: Pair) -> None:
    consume(pair, "1", *batches(pair, 0, 10))
    consume(pair, "2", *batches(pair, 0, 10), begins=True)
    compaction(pair)
    found = pair.table("clean").delete(f"{COLUMN} = '2' AND ind = 4")
    assert found["num_deleted_rows"] == 2
    assert counted(pair, "1") == 20
    assert {finding.kind for finding in report(pair, "2").findings} == {FindingKind.MISSING}


_LIFE = st.sampled_from(["1", "2", "3"])
_TURNS = st.lists(st.tuples(_LIFE, st.integers(1, 4)) | st.sampled_from(REWRITES), max_size=9)


@settings(max_examples=examples(8), deadline=None)
@given(_TURNS)
@pytest.mark.slow
def test_any_interleaving_of_lives_and_rewrites_counts_each_row_in_its_life(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[str, int] | Rewrite]
) -> None:
    pair = Pair(str(tmp_path_factory.mktemp("lake")), KAFKA)
    consume(pair, "1", *batches(pair, 0, 2, 4))
    ends = Counter({"1": 4})
    for turn in turns:
        if isinstance(turn, tuple):
            life, more = turn
            now = batches(pair, ends[life], ends[life] + more)
            consume(pair, life, *now, begins=life not in ends)
            ends[life] += more
        elif turn is not compaction or len(pair.table("clean").file_uris()) > 1:
            turn(pair) if turn is not compaction else pair.table("clean").optimize.compact()
    for life, end in ends.items():
        assert counted(pair, life) == 2 * end


# --- Lakes whose lives have no column


@pytest.fixture
def old(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Two lives as releases up to 0.1.0 wrote them: 20 and 12 records, the second one later."""
    with monkeypatch.context() as patch:
        patch.setattr(incarnation, "is_named", lambda *_, **__: False)
        consume(pair, "1", *batches(pair, 0, 10, 20))
        consume(pair, "2", *batches(pair, 0, 5, 12, later=LATER), begins=True)
    assert COLUMN not in pair.rows("clean").columns
    return pair


def test_lives_without_a_column_are_told_apart_by_their_folders(old: Pair) -> None:
    assert (counted(old, "1"), counted(old, "2")) == (40, 24)


@pytest.mark.slow
@pytest.mark.parametrize("rewrite", REWRITES)
def test_lives_without_a_column_are_told_apart_by_the_ledgers_times(
    old: Pair, rewrite: Rewrite
) -> None:
    rewrite(old)
    assert (counted(old, "1"), counted(old, "2")) == (40, 24)
    consume(old, "2", *batches(old, 12, 20, later=LATER))
    assert counted(old, "2") == 40


def test_a_row_lost_from_lives_without_a_column_is_missing_in_its_own(old: Pair) -> None:
    compaction(old)
    old.table("clean").delete("ind = 19")
    assert counted(old, "2") == 24
    assert {finding.kind for finding in report(old, "1").findings} == {FindingKind.MISSING}


def test_a_third_life_names_its_rows_beside_two_that_do_not(old: Pair) -> None:
    compaction(old)
    consume(old, "3", *batches(old, 0, 12), begins=True)
    compaction(old)
    assert counted(old, "3") == 24
    assert (counted(old, "1"), counted(old, "2")) == (40, 24)


def doubtful(pair: Pair, life: str) -> Report:
    """Run verify where it cannot know; it must find no difference. Return the report."""
    found = report(pair, life)
    assert found.findings == ()
    assert {unknown.partition for unknown in found.unknown} == {
        pair.log.partition(A),
        pair.log.partition(B),
    }
    assert any("whose" in unknown.detail for unknown in found.unknown)
    return found


def test_without_the_ledger_it_is_not_known_whose_the_rows_are(old: Pair) -> None:
    compaction(old)
    for stage in STAGES:
        old.forget(stage)
    for life in ("1", "2"):
        doubtful(old, life)
    with closing(sink(old, "clean", "2")) as own:
        own.write(batches(old, 12, 15)[0])


def test_rows_of_the_same_times_are_not_known_in_an_old_lake(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    for stage in STAGES:
        shutil.copytree(LAKE / stage, pair.uri(stage))
    compaction(pair)
    assert "30 rows" not in str(doubtful(pair, "1").unknown)
    assert "whose 20 rows" in str(doubtful(pair, "2").unknown)


def test_a_file_from_before_the_second_life_began_is_the_firsts(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    for stage in STAGES:
        shutil.copytree(LAKE / stage, pair.uri(stage))
    foreign = [a["path"] for a in engines.adds(pair.uri("clean")) if "-c000" in a["path"]]
    assert foreign  # compacted before
    assert (counted(pair, "1"), counted(pair, "2")) == (120, 60)


# --- The ids of a log


def test_application_ids_are_those_of_the_newest_whole_checkpoint_and_the_entries_since(
    tmp_path: Path,
) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(*batches(pair, 0, 3, 6))
    pair.table("clean").create_checkpoint()
    log = Path(pair.uri("clean")) / "_delta_log"
    whole = pl.read_parquet(log / f"{2:020d}.checkpoint.parquet")
    pair.write(*batches(pair, 6, 9))
    whole[:1].write_parquet(log / f"{3:020d}.checkpoint.{1:010d}.{2:010d}.parquet")
    found = txns.read(pair.table("clean"), dict)
    assert {n: told.version for n, told in found.items() if n.startswith("pinpip/pin/")} == {
        f"pinpip/pin/1/{pair.log.partition(A)}": 9,
        f"pinpip/pin/1/{pair.log.partition(B)}": 9,
    }
    assert all(told.updated for told in found.values())
