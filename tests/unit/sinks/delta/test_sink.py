"""What only the Delta sink promises: its log, its fences, its checkpoints."""

import json
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from core.batch import KAFKA, KINESIS, Partition, Position
from core.clock import SystemClock
from core.errors import PositionLost, SinkError, StalePosition
from sinks.delta import history, ledger, log, positions
from sinks.delta.sink import DeltaSink
from sinks.storage.store import FolderStore
from tests.support.batches import APP, RecordLog, delta_target
from tests.support.clock import ManualClock
from tests.support.commits import before_the_next_commit
from tests.support.processes import until

LOG = RecordLog(KAFKA)
P0, P1, P2 = (LOG.partition(n) for n in range(3))


def clean(folder: Path) -> DeltaSink:
    target = delta_target(str(folder), dict, KAFKA, "clean")
    return DeltaSink("clean", target, FolderStore(folder), SystemClock())


def quarantine(folder: Path, clock: ManualClock) -> DeltaSink:
    target = delta_target(str(folder), dict, KAFKA, "rejected")
    return DeltaSink("quarantine", target, FolderStore(folder), clock)


def test_a_commit_is_a_ledger_entry(tmp_path: Path) -> None:
    sink = clean(tmp_path)
    sink.positions([P0, P1])
    sink.write(LOG.batch({0: (0, 10), 1: (0, 4)}))
    [(_, _, text)] = history.commits(DeltaTable(str(tmp_path)), dict)
    counts = {r.of: (r.start, r.end, r.read) for r in ledger.decode(text).ranges}
    assert counts == {P0: (None, Position(10), 10), P1: (None, Position(4), 4)}


def test_at_every_version_the_positions_are_where_the_rows_end(tmp_path: Path) -> None:
    sink = clean(tmp_path)
    sink.positions([P0, P1])
    for n in range(3):
        sink.write(LOG.batch({0: (n * 6, n * 6 + 6), 1: (n * 3, n * 3 + 3)}))
    for version in range(DeltaTable(str(tmp_path)).version() + 1):
        snapshot = DeltaTable(str(tmp_path), version=version)
        held = [snapshot.transaction_version(positions.app_id(APP, p)) or 0 for p in (P0, P1)]
        wanted = LOG.batch({0: (0, held[0]), 1: (0, held[1])}).clean
        found = pl.read_delta(snapshot)
        assert_frame_equal(found.select(wanted.columns), wanted, check_row_order=False)
    assert held == [18, 9]


def test_a_writer_that_commits_after_the_comparison_is_noticed_by_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie, owner = clean(tmp_path), clean(tmp_path)
    owner.positions([P0])
    owner.write(LOG.batch({0: (0, 6)}))
    zombie.positions([P0])
    before_the_next_commit(monkeypatch, lambda: owner.write(LOG.batch({0: (6, 12)})))
    with pytest.raises(StalePosition):
        zombie.write(LOG.batch({0: (6, 12)}))
    assert DeltaTable(str(tmp_path)).count() == LOG.batch({0: (0, 12)}).clean.height


def test_the_log_keeps_the_statistics_that_readers_skip_files_by(tmp_path: Path) -> None:
    sink = clean(tmp_path)
    sink.positions([P0])
    sink.write(LOG.batch({0: (0, 10)}))
    [action] = pl.DataFrame(DeltaTable(str(tmp_path)).get_add_actions(flatten=True)).to_dicts()
    kept = DeltaTable(str(tmp_path)).to_pyarrow_table().num_rows
    assert action["num_records"] == kept
    assert action["min._partition"] == action["max._partition"] == 0
    assert 0 <= action["min._offset"] <= action["max._offset"] < 10


def test_a_table_of_another_schema_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"ind": ["text"]}).write_delta(str(tmp_path))
    with pytest.raises(SinkError, match=r"another schema \(.*ind: .*string.*long"):
        clean(tmp_path).positions([P0])


def test_a_damaged_log_file_is_one_clear_error(tmp_path: Path) -> None:
    sink = clean(tmp_path)
    sink.positions([P0])
    sink.write(LOG.batch({0: (0, 3)}))
    (tmp_path / "_delta_log" / f"{1:020d}.json").write_text("{damaged")
    with pytest.raises(SinkError, match=r"the log of table .* is damaged"):
        clean(tmp_path).positions([P0])


def test_a_table_that_forgets_positions_is_refused(tmp_path: Path) -> None:
    sink = clean(tmp_path)
    sink.positions([P0])
    sink.write(LOG.batch({0: (0, 3)}))
    DeltaTable(str(tmp_path)).alter.set_table_properties(
        {"delta.setTransactionRetentionDuration": "interval 1 day"}
    )
    with pytest.raises(SinkError, match="setTransactionRetentionDuration"):
        clean(tmp_path).positions([P0])


def test_rows_without_a_position_are_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    rows = LOG.batch({0: (0, 3)}).clean
    rows.write_delta(str(tmp_path))
    with pytest.raises(PositionLost, match=r"has rows of demo\.pin/0 but no position"):
        clean(tmp_path).positions([P0])
    assert clean(tmp_path).positions([P1]) == {P1: None}


@pytest.mark.process
def test_a_checkpoint_is_written_every_hundred_commits(tmp_path: Path) -> None:
    sink = clean(tmp_path)
    sink.positions([P0])
    for n in range(log.CHECKPOINT_EVERY + 5):
        sink.write(LOG.batch({0: (n, n + 1)}))
    until((tmp_path / "_delta_log" / "_last_checkpoint").exists, "the checkpoint's process")
    sink.close()
    assert [p.name for p in (tmp_path / "_delta_log").glob("*.checkpoint.parquet")]
    hint = json.loads((tmp_path / "_delta_log" / "_last_checkpoint").read_text())
    assert log.CHECKPOINT_EVERY <= hint["version"] <= log.CHECKPOINT_EVERY + 5
    assert clean(tmp_path).positions([P0]) == {P0: Position(log.CHECKPOINT_EVERY + 5)}


def test_a_quarantine_without_rejects_waits_for_its_commit(tmp_path: Path) -> None:
    clock = ManualClock()
    sink = quarantine(tmp_path, clock)
    sink.positions([P0])
    sink.write(LOG.without_rows({0: (0, 3)}))
    assert not DeltaTable.is_deltatable(str(tmp_path))
    clock.advance(61)
    sink.write(LOG.without_rows({0: (3, 6)}))
    [(_, _, text)] = history.commits(DeltaTable(str(tmp_path)), dict)
    [held] = ledger.decode(text).ranges
    assert (held.start, held.end) == (None, Position(6))


def test_what_was_put_off_for_partitions_that_moved_on_blocks_the_others_only_once(
    tmp_path: Path,
) -> None:
    old, new = quarantine(tmp_path, ManualClock()), quarantine(tmp_path, ManualClock())
    old.positions([P0, P1, P2])
    old.write(LOG.without_rows({1: (0, 3), 2: (0, 3)}))
    new.positions([P1, P2])
    new.write(LOG.batch({1: (0, 6), 2: (0, 6)}))
    with pytest.raises(StalePosition, match=rf"moved {P1} from None to .*, {P2} from None to "):
        old.write(LOG.batch({0: (0, 6)}))
    old.positions([P0])
    old.write(LOG.batch({0: (0, 6)}))
    held = dict.fromkeys([P0, P1, P2], Position(6))
    assert quarantine(tmp_path, ManualClock()).positions([P0, P1, P2]) == held


@given(number=st.integers(0, 10**64 - 1), sub=st.integers(0, 2**31), before=st.integers(0, 99))
def test_a_sequence_number_comes_back_from_its_limbs(number: int, sub: int, before: int) -> None:
    partition, position = Partition("s", "shard-0"), Position(number, sub)
    own = positions.app_id("app", partition)
    held = {f"{own}/counter": before}
    for txn in positions.write(held.get, own, position, KINESIS, 0):
        assert 0 <= txn.version < 2**63
        held[txn.app_id] = txn.version
    assert positions.read(held.get, "app", partition, KINESIS) == position


@given(st.integers(1, 2**61), st.sampled_from(["limb0", "limb3", "sub", "counter", "checksum"]))
def test_limbs_of_different_commits_are_refused(change: int, part: str) -> None:
    partition = Partition("s", "shard-0")
    own = positions.app_id("app", partition)
    held: dict[str, int] = {}
    for txn in positions.write(held.get, own, Position(2**185 + 7, 3), KINESIS, 0):
        held[txn.app_id] = txn.version
    held[f"{own}/{part}"] ^= change
    with pytest.raises(PositionLost, match="different commits"):
        positions.read(held.get, "app", partition, KINESIS)
