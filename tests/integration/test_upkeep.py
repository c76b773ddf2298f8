"""Upkeep as operators meet it: a daemon, a full disk, another maintainer, a table that grows."""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from audit.verify import verify
from core.clock import SystemClock
from core.errors import ConfigError, TransientError
from pinpip.maintain import maintain
from pinpip.pipelines import tables_of
from pinpip.upkeep import MODULE
from sinks.delta import compaction, log, marks
from sinks.delta.checkpoints import CheckpointWriter
from sinks.delta.commit_log import Committed, Version
from sinks.delta.log import DeltaLog
from sinks.delta.maintainer import Election
from sinks.storage.store import open_store
from tests.support.board_lake import BoardLake, Member
from tests.support.clock import ManualClock
from tests.support.disks import PAGE, SmallDisk, small_disk
from tests.support.processes import stop, until

SECTIONS = {"maintain": {"target": "20KB", "memory": "1MiB"}}


def grow(lake: BoardLake, commits: int, start: int = 0) -> None:
    member = Member(lake.config())
    for n in range(start, start + commits):
        member.write({"id": n * 7919 % 1000, "title": f"board {n}"})
    member.close()


def run(lake: BoardLake, clock: Any = None) -> list[Any]:
    return list(maintain(lake.config(), "boards", clock or SystemClock()))


def files(lake: BoardLake) -> int:
    return len(lake.table().get_add_actions().to_struct_array())


@pytest.fixture
def lake(tmp_path: Path) -> BoardLake:
    """Return a lake of twelve commits."""
    made = BoardLake(tmp_path, str(tmp_path / "lake"), SECTIONS)
    grow(made, 12)
    return made


def test_a_daemon_maintains_again_and_again_until_it_is_asked_to_stop(lake: BoardLake) -> None:
    command = [sys.executable, "-m", "pinpip", "-c", str(lake.path()), "maintain", "--every", "1s"]
    member = Member(lake.config())  # the daemon reads its files as well: they are not written again
    table = tables_of(lake.config(), "boards").clean
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=dict(os.environ)) as daemon:
        until(lambda: len(DeltaTable(table).file_uris()) < 4, "the first turn")
        for n in range(12):
            member.write({"id": n, "title": "later"})
        until(lambda: len(DeltaTable(table).file_uris()) < 6, "another turn")
        member.close()
        assert stop(daemon) == 0
        assert daemon.stderr is not None
        told = [json.loads(line) for line in daemon.stderr.read().decode().splitlines()]
    assert {line["event"] for line in told} == {"table_maintained"}
    assert told[0]["merged"] == 12
    assert lake.rows().height == 24


def test_a_turn_whose_consumer_is_gone_ends_even_while_its_store_does_not_answer(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        aws = {"endpoint_url": endpoint, "access_key_id": "x", "secret_access_key": "x"}
        lake = BoardLake(tmp_path, "s3://nowhere/lake", {"aws": aws})
        command = [sys.executable, "-m", MODULE, str(lake.path()), "boards"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as turn:
            connection, _ = silent.accept()
            with connection:
                assert turn.poll() is None
                assert turn.stdin is not None
                turn.stdin.close()
                turn.wait(10)


@pytest.mark.parametrize("by_signal", [False, True])
def test_a_turn_that_is_cut_off_frees_the_place_of_the_maintainer(
    lake: BoardLake, *, by_signal: bool
) -> None:
    place = Path(tables_of(lake.config(), "boards").clean, "_pinpip", "maintainer.json")
    command = [sys.executable, "-m", MODULE, str(lake.path()), "boards"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as turn:
        until(place.exists, "a turn at work")
        assert turn.stdin is not None
        if by_signal:
            turn.terminate()
        turn.stdin.close()
        assert turn.wait(10) == 0
    assert not place.exists()
    assert lake.rows().height == 12
    assert verify(tables_of(lake.config(), "boards")).findings == ()


@pytest.mark.parametrize("every", ["0s", "10"])
def test_an_interval_that_makes_no_sense_is_refused(tmp_path: Path, every: str) -> None:
    lake = BoardLake(tmp_path, str(tmp_path / "lake"), {"maintain": {"every": every}})
    with pytest.raises(ConfigError, match=r"maintain\.every"):
        lake.config()


def test_a_full_disk_leaves_the_table_as_it_was_until_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        lake = BoardLake(tmp_path, str(disk.root / "lake"), SECTIONS)
        grow(lake, 12)
        before, version = lake.rows(), lake.table().version()
        disk.fill(leave=8192)
        with pytest.raises(TransientError, match="No space left") as told:
            run(lake)
        assert "make room" in told.value.hint
        assert_frame_equal(lake.rows(), before)
        assert lake.table().version() == version
        disk.free()
        assert run(lake)[0].merged == 12
        assert_frame_equal(lake.rows(), before)
        assert verify(tables_of(lake.config(), "boards")).findings == ()


def test_a_disk_that_is_full_at_any_step_of_a_merge_leaves_rows_and_version(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        lake = BoardLake(tmp_path, str(disk.root / "lake"), SECTIONS)
        grow(lake, 12)
        before, version, log = lake.rows(), lake.table().version(), log_files(disk)
        left, orphans = set[int](), set[int]()
        for pages in range(16):
            disk.fill(leave=pages * PAGE)
            with suppress(TransientError):
                run(lake)
            disk.free()
            assert_frame_equal(lake.rows(), before)
            if lake.table().version() > version:
                break
            left.add(pages)
            orphans.add(len([name for name in disk.files() if name.endswith(".zstd.parquet")]))
            assert log_files(disk) == log
        assert left >= {0, 1, 2}  # no room for the maintainer's place, for the rows, for the entry
        assert len(orphans) > 1
        assert run(lake)[0].small <= compaction.LEAST
        assert_frame_equal(lake.rows(), before)
        assert verify(tables_of(lake.config(), "boards")).findings == ()


def log_files(disk: SmallDisk) -> set[str]:
    return {name for name in disk.files() if "_delta_log" in name}


def test_a_second_maintainer_does_nothing_and_says_who_is_at_work(lake: BoardLake) -> None:
    uri, clock = tables_of(lake.config(), "boards").clean, SystemClock()
    other = Election(open_store(uri, lake.config().aws), "another/1", clock)
    assert other.won()
    [clean, _] = run(lake)
    assert clean.merged == 0
    assert clean.notes[0].startswith("it is maintained by another/1 until ")
    other.leave()
    assert run(lake)[0].merged == 12


def test_a_checkpoint_that_consumers_left_undone_is_written_and_one_under_way_is_left_to_them(
    lake: BoardLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CheckpointWriter, "start", lambda *_: None)  # of consumers
    monkeypatch.setattr(log, "CHECKPOINT_EVERY", 20)
    grow(lake, 20, start=12)
    assert [one.checkpoint for one in run(lake)] == [False, False]
    hint = Path(tables_of(lake.config(), "boards").clean, "_delta_log", "_last_checkpoint")
    assert not hint.exists()
    grow(lake, 10, start=32)
    before = lake.rows()
    assert run(lake)[0].checkpoint
    assert hint.exists()
    assert_frame_equal(lake.rows(), before)


def test_the_number_of_files_stays_bounded_however_many_commits_there_are(
    tmp_path: Path,
) -> None:
    lake = BoardLake(tmp_path, str(tmp_path / "lake"), SECTIONS)
    member, most = Member(lake.config()), 0
    for turn in range(30):
        for n in range(10):
            member.write({"id": n, "title": f"{turn}"})
        run(lake)
        most = max(most, files(lake))
    member.close()
    assert lake.rows().height == 300
    assert most <= 12 + compaction.LEAST
    assert verify(tables_of(lake.config(), "boards")).findings == ()


def test_a_clock_that_is_behind_leaves_the_files_to_the_next_run(lake: BoardLake) -> None:
    clock = ManualClock()  # years behind: no file was written until then
    assert [one.merged for one in run(lake, clock)] == [0, 0]
    assert run(lake)[0].merged == 12


def test_no_file_is_removed_while_a_replacement_is_unfinished(lake: BoardLake) -> None:
    tables = tables_of(lake.config(), "boards")
    store, version = open_store(tables.clean, lake.config().aws), lake.table().version()
    entry = Version("", 17, txns=marks.write(tables.app, 1, "a replay", 17))
    assert isinstance(DeltaLog(store, version, lambda _: None).append(entry), Committed)
    for one in run(lake):
        assert one.notes == ["no file was removed: a replacement of rows is unfinished"]
