"""A table that is deleted, restored or replaced under its writer: every record is there once."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from polars.testing import assert_frame_equal
from structlog.testing import capture_logs

from core.batch import Position
from core.clock import Clock
from core.errors import SinkError, StalePosition
from sinks.delta import aside, table
from sinks.delta.cleanup import PROPERTY
from sinks.delta.log import CHECKPOINT_EVERY
from sinks.delta.sink import DeltaSink
from sinks.delta.watch import LOOK_EVERY, PAUSE_S
from sinks.storage.store import FolderStore
from tests.support.batches import delta_target
from tests.support.clock import ManualClock
from tests.support.delta_logs import (
    LOG,
    A,
    clean_up,
    entries,
    in_folder,
    in_threes,
    log_of,
    opened,
    table_of,
)
from tests.support.sink_backends import DeltaBackend

P0 = LOG.partition(A)
COMMITS = 6  # before the table is damaged
Damage = Callable[[DeltaBackend, Path], None]


def all_deleted(backend: DeltaBackend, _copy: Path) -> None:
    shutil.rmtree(backend.store.uri)


def log_deleted(backend: DeltaBackend, _copy: Path) -> None:
    shutil.rmtree(log_of(backend))


def newest_deleted(backend: DeltaBackend, _copy: Path) -> None:
    for version in (COMMITS - 1, COMMITS):
        (log_of(backend) / f"{version:020d}.json").unlink()


def newest_one_deleted(backend: DeltaBackend, _copy: Path) -> None:
    (log_of(backend) / f"{COMMITS:020d}.json").unlink()


def restored(backend: DeltaBackend, copy: Path) -> None:
    shutil.rmtree(backend.store.uri)
    shutil.copytree(copy, backend.store.uri)


def replaced_by_a_younger_one(backend: DeltaBackend, copy: Path) -> None:
    shutil.rmtree(backend.store.uri)
    in_threes(opened(in_folder(copy.parent / "other"), A), range(2))
    shutil.move(copy.parent / "other", backend.store.uri)


def replaced_by_an_older_one(backend: DeltaBackend, copy: Path) -> None:
    shutil.rmtree(backend.store.uri)
    sink = opened(in_folder(copy.parent / "other"), A)
    for n in range(COMMITS + 3):
        sink.write(LOG.batch({A: (n, n + 1)}))
    shutil.move(copy.parent / "other", backend.store.uri)


def replaced_by_one_of_the_same_age(backend: DeltaBackend, copy: Path) -> None:
    shutil.rmtree(backend.store.uri)
    sink = opened(in_folder(copy.parent / "other"), A)
    for n in range(COMMITS):
        sink.write(LOG.batch({A: (n, n + 1)}))
    shutil.move(copy.parent / "other", backend.store.uri)


DAMAGES = [
    all_deleted,
    log_deleted,
    newest_deleted,
    newest_one_deleted,
    restored,
    replaced_by_a_younger_one,
    replaced_by_an_older_one,
]


class Writer:
    """Writes as the loop does: when stale, it reads on from the table's positions."""

    def __init__(self, backend: DeltaBackend, clock: Clock | None = None) -> None:
        where = delta_target(backend.store.uri, backend.options, backend.coordinates, "clean")
        self.sink = DeltaSink("pin", where, backend.store, clock or ManualClock())
        self.went_back = 0
        self.resume()

    def resume(self) -> None:
        """Read on from the table's positions."""
        self.at = LOG.count(self.sink.positions([P0])[P0])

    def write(self) -> None:
        """Write three more records."""
        try:
            self.sink.write(LOG.batch({A: (self.at, self.at + 3)}))
        except StalePosition:
            self.went_back += 1
            self.resume()
        else:
            self.at += 3

    def finish(self, end: int) -> None:
        """Write up to `end`, and prove it, as a run that ends does."""
        for _ in range(10):
            with suppress(StalePosition):
                if self.at < end:
                    self.sink.write(LOG.batch({A: (self.at, end)}))
                self.at = max(self.at, end)
                return self.sink.settle()
            self.resume()
        raise AssertionError("it never ends")


def damaged(
    folder: Path, damage: Damage, *, checkpoint: bool = False
) -> tuple[DeltaBackend, Writer]:
    """Let a writer be on its way, far from its next look; then damage the table."""
    backend, copy = in_folder(folder / "table"), folder / "copy"
    writer = Writer(backend)
    for n in range(COMMITS):
        writer.write()
        if n == 2:
            if checkpoint:
                table.checkpoint(backend.store.uri, dict)
            shutil.copytree(backend.store.uri, copy)
    damage(backend, copy)
    return backend, writer


def assert_each_once(backend: DeltaBackend, end: int) -> None:
    found = backend.rows()
    assert_frame_equal(found, LOG.batch({A: (0, end)}).clean, check_row_order=False)
    assert opened(backend).positions([P0]) == {P0: Position(end)}


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("more", [0, 1, 7, LOOK_EVERY, 2 * LOOK_EVERY])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_writer_that_goes_on_after_a_damage_reads_the_lost_records_again(
    tmp_path: Path, damage: Damage, more: int, *, checkpoint: bool
) -> None:
    backend, writer = damaged(tmp_path, damage, checkpoint=checkpoint)
    for _ in range(more):
        writer.write()
    end = max(writer.at, 3 * COMMITS) + 3
    writer.finish(end)
    assert_each_once(backend, end)


def test_what_was_written_to_another_table_of_the_same_age_is_withdrawn(tmp_path: Path) -> None:
    backend, writer = damaged(tmp_path, replaced_by_one_of_the_same_age)
    for _ in range(3):
        writer.write()
    writer.finish(60)
    assert backend.rows().height == LOG.batch({A: (0, 60)}).clean.height
    assert_each_once(backend, 60)


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("more", [1, 3, LOOK_EVERY - COMMITS - 1])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_writer_killed_after_a_damage_reads_the_lost_records_again_at_its_start(
    tmp_path: Path, damage: Damage, more: int, *, checkpoint: bool
) -> None:
    backend, writer = damaged(tmp_path, damage, checkpoint=checkpoint)
    for _ in range(more):
        writer.write()
    end = max(writer.at, 3 * COMMITS) + 3
    Writer(backend).finish(end)
    assert_each_once(backend, end)


class Killed(BaseException):
    """As kill -9: nothing is done any more."""


@pytest.mark.parametrize("method", ["put_new", "take_away"])
@pytest.mark.parametrize("calls", range(4))
@pytest.mark.parametrize("damage", [all_deleted, newest_deleted, restored])
def test_a_writer_killed_while_it_sets_entries_aside_does_so_at_its_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage, calls: int, method: str
) -> None:
    backend, writer = damaged(tmp_path, damage)
    for _ in range(4):
        writer.write()
    made = 0

    class Dying(FolderStore):
        """Dies at a call."""

    def dies(store: FolderStore, *given: object) -> object:
        nonlocal made
        made += 1
        if made > calls:
            raise Killed
        return getattr(FolderStore, method)(store, *given)

    setattr(Dying, method, dies)
    with monkeypatch.context() as patch:
        patch.setattr("sinks.delta.orphans.of_table", lambda uri, _: Dying(Path(uri)))
        with pytest.raises(Killed):
            Writer(backend)
    Writer(backend).finish(30)
    assert_each_once(backend, 30)


def test_a_damage_is_noticed_within_so_many_commits(tmp_path: Path) -> None:
    _, writer = damaged(tmp_path, all_deleted)
    for _ in range(LOOK_EVERY):
        writer.write()
    assert writer.went_back == 1


def test_a_damage_is_noticed_by_the_first_commit_after_a_pause(tmp_path: Path) -> None:
    backend, writer = damaged(tmp_path, newest_deleted)
    cast(ManualClock, writer.sink._clock).advance(PAUSE_S + 1)
    writer.write()
    assert writer.went_back == 1
    assert not (Path(backend.store.uri) / aside.FOLDER).exists()


def test_a_damage_is_noticed_when_the_sink_settles_for_the_end(tmp_path: Path) -> None:
    _, writer = damaged(tmp_path, newest_deleted)
    writer.write()
    with pytest.raises(StalePosition):
        writer.sink.settle()


def test_entries_that_are_set_aside_are_kept_and_named(tmp_path: Path) -> None:
    backend, writer = damaged(tmp_path, newest_deleted)
    for _ in range(3):
        writer.write()
    bodies = [(log_of(backend) / f"{n:020d}.json").read_bytes() for n in (7, 8, 9)]
    with capture_logs() as told, suppress(SinkError):
        opened(backend, A)
    named = [(line["event"], line.get("first"), line.get("last")) for line in told]
    assert ("entries_set_aside", COMMITS + 1, COMMITS + 3) in named
    kept = sorted((Path(backend.store.uri) / aside.FOLDER).iterdir())
    assert [path.read_bytes() for path in kept] == bodies
    assert entries(backend) == [*range(COMMITS - 1)]
    assert table_of(backend).version() == COMMITS - 2


class Slow(FolderStore):
    """A folder whose writer is stopped before its next put, while something happens."""

    meanwhile: Callable[[], None] | None = None

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """As a folder's, a long time later."""
        if self.meanwhile and key.startswith("_delta_log"):
            act, self.meanwhile = self.meanwhile, None
            act()
        return super().put_new(key, body, metadata)


def test_a_writer_that_is_stopped_before_its_put_looks_after_it(tmp_path: Path) -> None:
    backend, clock = in_folder(tmp_path), ManualClock()
    store = Slow(tmp_path)
    writer = Writer(replace(backend, store=store), clock)
    for _ in range(COMMITS):
        writer.write()

    def meanwhile() -> None:
        clock.advance(PAUSE_S + 1)
        other = Writer(backend)
        for _ in range(3):
            other.write()
        table.checkpoint(backend.store.uri, dict)
        clean_up(backend, left=())

    store.meanwhile = meanwhile
    writer.write()
    assert (writer.went_back, writer.at) == (1, 3 * COMMITS + 9)
    writer.finish(60)
    assert_each_once(backend, 60)


def test_a_checkpoint_of_another_history_is_noticed(tmp_path: Path) -> None:
    backend = in_folder(tmp_path)
    writer = Writer(backend)
    for _ in range(COMMITS):
        writer.write()
    other = Writer(backend)
    for _ in range(3):
        other.write()
    table.checkpoint(backend.store.uri, dict)
    clean_up(backend, left=range(COMMITS + 1))
    for _ in range(LOOK_EVERY):
        writer.write()
    assert writer.went_back == 1
    writer.finish(120)
    assert_each_once(backend, 120)


def test_a_table_that_keeps_its_log_for_a_short_time_is_looked_at_every_time(
    tmp_path: Path,
) -> None:
    backend = in_folder(tmp_path)
    opened(backend, A).write(LOG.batch({A: (0, 3)}))
    table_of(backend).alter.set_table_properties({PROPERTY: "interval 1 minute"})
    writer = Writer(backend)
    for _ in range(COMMITS):
        writer.write()
    (log_of(backend) / f"{entries(backend)[-1]:020d}.json").unlink()
    writer.write()
    assert writer.went_back == 1


def test_a_checkpoint_that_another_wrote_puts_the_next_one_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    backend = in_folder(tmp_path)
    writer = Writer(backend)
    monkeypatch.setattr(
        "sinks.delta.checkpoints.CheckpointWriter.start", lambda *_: started.append(writer.at // 3)
    )
    for _ in range(CHECKPOINT_EVERY - LOOK_EVERY + 5):
        writer.write()
    table.checkpoint(backend.store.uri, dict)
    for _ in range(LOOK_EVERY):
        writer.write()
    assert started == []
