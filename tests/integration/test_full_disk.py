"""A lake on a disk that is full: writing waits for room, and leaves nothing torn behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from core.batch import KAFKA, Position
from core.errors import TransientError
from core.protocols import Sink
from sinks.delta import table
from sinks.storage.store import FolderStore
from tests.support.aws import TestAws
from tests.support.delivery import LOG, PARTITIONS, STEP, deliver, records
from tests.support.disks import PAGE, SmallDisk, small_disk
from tests.support.processes import (
    Home,
    Process,
    assert_holds_once,
    kinesis_home,
    payloads,
    put,
    stop,
    until,
)
from tests.support.sink_backends import DeltaBackend, ParquetBackend

NO_ROOM = "No space left on device"
NEXT = LOG.batch({0: (STEP, 2 * STEP), 1: (STEP, 2 * STEP)})
Held = DeltaBackend | ParquetBackend


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Of one MiB."""
    with small_disk(tmp_path / "disk", "1m") as made:
        yield made


@pytest.fixture
def held(disk: SmallDisk) -> DeltaBackend:
    """Make a table on the small disk."""
    return DeltaBackend(FolderStore(disk.root / "table"), dict, "clean", KAFKA)


@pytest.fixture
def archive(disk: SmallDisk) -> ParquetBackend:
    """Chains on it."""
    return ParquetBackend(FolderStore(disk.root / "archive"), "raw", KAFKA)


def assert_once(held: Held, count: int) -> None:
    """Assert that the first records of both partitions are stored, each once and unchanged."""
    kept = held.kept(records(count))
    assert_frame_equal(held.rows().select(kept.columns), kept, check_row_order=False)


def assert_no_room(sink: Sink) -> None:
    """Assert that the next batch is refused with a hint that says what to do."""
    with pytest.raises(TransientError, match=NO_ROOM) as told:
        sink.write(NEXT)
    assert "make room" in told.value.hint


def test_a_data_file_without_room_leaves_nothing(disk: SmallDisk, held: DeltaBackend) -> None:
    sink = held.sink()
    deliver(sink, STEP)
    before = disk.files()
    disk.fill()
    assert_no_room(sink)
    assert disk.files() == before
    disk.free()
    sink.write(NEXT)
    assert_once(held, 2 * STEP)


def test_a_commit_without_room_leaves_half_a_log_entry_nowhere(
    disk: SmallDisk, held: DeltaBackend
) -> None:
    sink = held.sink()
    deliver(sink, STEP)
    before = disk.files()
    disk.fill(leave=PAGE)
    assert_no_room(sink)
    [orphan] = disk.files() - before
    assert orphan.endswith(".parquet")
    assert set(held.sink().positions(PARTITIONS).values()) == {Position(STEP)}
    disk.free()
    sink.write(NEXT)
    assert_once(held, 2 * STEP)


def test_wherever_the_disk_is_full_a_commit_is_there_once(
    disk: SmallDisk, held: DeltaBackend
) -> None:
    rooms = range(0, 6 * PAGE, PAGE)
    sink = held.sink()
    sink.positions(PARTITIONS)  # the proof of the folder wants a little room, too
    for n, room in enumerate(rooms):
        disk.fill(leave=room)
        try:
            sink.positions(PARTITIONS)
            sink.write(LOG.batch(dict.fromkeys((0, 1), (n * STEP, (n + 1) * STEP))))
        except TransientError:
            disk.free()
            assert deliver(sink, (n + 1) * STEP, since=n * STEP) == []
        disk.free()
    assert_once(held, len(rooms) * STEP)


@pytest.mark.parametrize("room", [0, PAGE])
def test_a_checkpoint_without_room_leaves_the_table_as_it_was(
    disk: SmallDisk, held: DeltaBackend, room: int
) -> None:
    deliver(held.sink(), STEP)
    before = disk.files()
    disk.fill(leave=room)
    with pytest.raises(TransientError, match=NO_ROOM):
        table.checkpoint(held.store.uri, dict)
    assert disk.files() == before
    disk.free()
    table.checkpoint(held.store.uri, dict)
    assert deliver(held.sink(), 2 * STEP) == []
    assert_once(held, 2 * STEP)


def test_of_an_archive_the_partition_that_had_no_room_is_written_by_the_same_call(
    disk: SmallDisk, archive: ParquetBackend
) -> None:
    sink = archive.sink()
    deliver(sink, STEP)
    before = disk.files()
    disk.fill(leave=PAGE)
    assert_no_room(sink)
    assert len(disk.files() - before) == 1
    disk.free()
    sink.write(NEXT)
    assert_once(archive, 2 * STEP)


@pytest.fixture
def home(tmp_path: Path, aws: TestAws) -> Iterator[tuple[Home, SmallDisk, str]]:
    """Configure a pipeline whose lake is a small disk; yield its stream as well."""
    stream = aws.stream(shards=1)
    made = kinesis_home(tmp_path, aws, stream)
    with small_disk(tmp_path / "lake", "4m") as disk:
        yield made, disk, stream


def says(home: Home, text: str) -> bool:
    """Whether the process has said so."""
    return text in (home.folder / "process.log").read_text(encoding="utf-8")


@contextmanager
def on_a_full_disk(home: tuple[Home, SmallDisk, str], aws: TestAws) -> Iterator[Process]:
    """Run a consumer that has written some rows and has no room for more."""
    consumed, disk, stream = home
    put(aws, stream, payloads(100))
    with consumed.running("consume", "user") as consumer:
        until(lambda: consumed.rows() >= 100, "the first rows")
        disk.fill()
        put(aws, stream, payloads(100, since=100))
        until(lambda: says(consumed, NO_ROOM), "the consumer to meet the full disk")
        yield consumer


def test_a_consumer_on_a_full_disk_goes_on_when_there_is_room(
    home: tuple[Home, SmallDisk, str], aws: TestAws
) -> None:
    consumed, disk, _ = home
    with on_a_full_disk(home, aws) as consumer:
        disk.free()
        until(lambda: consumed.rows() >= 200, "the other rows")
        assert stop(consumer) == 0
    assert_holds_once(consumed, payloads(200))


def test_a_consumer_that_is_stopped_on_a_full_disk_says_why_it_fails(
    home: tuple[Home, SmallDisk, str], aws: TestAws
) -> None:
    consumed, disk, _ = home
    with on_a_full_disk(home, aws) as consumer:
        assert stop(consumer, within=20) == 1
    assert says(consumed, "error: gave up after")
    assert says(consumed, "next:  make room on that disk")
    disk.free()
    with consumed.running("consume", "user") as consumer:
        until(lambda: consumed.rows() >= 200, "the other rows")
        assert stop(consumer) == 0
    assert_holds_once(consumed, payloads(200))
