"""Writers that should not write: zombies, whole groups by mistake, positions moved by hand."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import polars as pl
import pytest
import yaml
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from polars.testing import assert_frame_equal

from audit.invariants import FindingKind
from audit.verify import verify
from core.batch import KAFKA, KINESIS, Batch, Coordinates, Position
from core.clock import SystemClock
from core.errors import PositionLost, StalePosition
from core.protocols import Options, Sink
from sinks.delta import position_checks, positions
from sinks.delta.sink import DeltaSink
from sinks.delta.target import Tables
from sinks.parquet.sink import ParquetSink
from sinks.storage.protocol import Store
from sinks.storage.s3 import S3Store, client
from sinks.storage.store import FolderStore
from tests.support.aws import TestAws
from tests.support.batches import APP, RecordLog, delta_target
from tests.support.brokers import Broker
from tests.support.commits import before_the_next_commit
from tests.support.processes import (
    Home,
    Process,
    assert_holds_once,
    kafka_home,
    payloads,
    stop,
    until,
)

A, B = 0, 1
LOG = RecordLog(KAFKA)
P0, P1 = LOG.partition(A), LOG.partition(B)
Act = Callable[[], None]


def nothing() -> None:
    """Do nothing: no other writer comes in between."""


class Window:
    """A store in which something else happens once, right before or after the next object."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.before: Act = nothing
        self.after: Act = nothing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_new(self, key: str, body: bytes, metadata: dict[str, str]) -> bool:
        """As the store's own."""
        before, self.before = self.before, nothing
        before()
        done = self._store.put_new(key, body, metadata)
        after, self.after = self.after, nothing
        after()
        return done


@dataclass
class Place:
    """An empty table, quarantine or archive, its writers and its rows."""

    kind: str
    coordinates: Coordinates
    store: Store
    options: Options

    def __post_init__(self) -> None:
        self.log = RecordLog(self.coordinates)
        self.window = Window(self.store)

    def writer(self, *indices: int) -> Sink:
        """Make a writer that owns these partitions; all writers share the window."""
        made = self._made(cast("Store", self.window))
        made.positions([self.log.partition(i) for i in indices])
        return made

    def _made(self, store: Store) -> Sink:
        if self.kind == "archive":
            return ParquetSink(store, "raw", self.coordinates, "archive")
        stage = "clean" if self.kind == "clean" else "rejected"
        where = delta_target(self.store.uri, self.options, self.coordinates, stage)  # type: ignore[arg-type]
        return DeltaSink(self.kind, where, store, SystemClock())

    def assert_holds(self, wanted: Batch) -> None:
        """Assert that the rows of `wanted` are stored once, and that the positions are its ends."""
        frames = {"clean": wanted.clean, "quarantine": wanted.rejected, "archive": wanted.raw}
        kept = frames[self.kind]
        assert_frame_equal(self._rows().select(kept.columns), kept, check_row_order=False)
        ends = {partition: span.end for partition, span in wanted.spans.items()}
        assert self._made(self.store).positions(list(ends)) == ends

    def _rows(self) -> pl.DataFrame:
        if self.kind != "archive":
            return pl.read_delta(self.store.uri, storage_options=self.options())
        return pl.concat([pl.read_parquet(self.store.read(key)) for key in self.store.list("")])


@pytest.fixture(params=["clean", "quarantine", "archive"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of sink."""
    return str(request.param)


@pytest.fixture(params=["folder kafka", "folder kinesis", "bucket kafka"])
def place(request: pytest.FixtureRequest, kind: str, tmp_path: Path, aws: TestAws) -> Place:
    """Each kind of sink on a disk and in S3, with both ways to name a record."""
    where, source = str(request.param).split()
    coordinates = KAFKA if source == "kafka" else KINESIS
    if where == "folder":
        return Place(kind, coordinates, FolderStore(tmp_path / "place"), dict)
    store = S3Store(client(aws.config), aws.bucket(), uuid4().hex)
    return Place(kind, coordinates, store, aws.storage_options)


# --- Zombies


def test_a_zombie_of_two_partitions_is_fenced_in_each_after_it_wrote_the_other(
    place: Place,
) -> None:
    zombie, owner = place.writer(A, B), place.writer(A)
    owner.write(place.log.batch({A: (0, 100)}))
    zombie.write(place.log.batch({B: (0, 4)}))
    for stale in ({A: (0, 100)}, {A: (0, 100), B: (4, 8)}, {A: (0, 7)}):
        with pytest.raises(StalePosition):
            zombie.write(place.log.batch(stale))
        zombie.positions([place.log.partition(B)])
    place.assert_holds(place.log.batch({A: (0, 100), B: (0, 4)}))


def test_a_writer_overtaken_between_its_comparison_and_its_commit_is_fenced(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, owner = place.writer(A, B), place.writer(A)

    def overtake() -> None:
        owner.write(place.log.batch({A: (0, 9)}))

    if place.kind == "archive":
        place.window.before = overtake
    else:
        before_the_next_commit(monkeypatch, overtake)
    with pytest.raises(StalePosition):
        late.write(place.log.batch({A: (0, 12)}))
    place.assert_holds(place.log.batch({A: (0, 9)}))


@pytest.mark.parametrize("kind", ["clean", "quarantine"], indirect=True)
def test_a_writer_suspended_between_its_file_and_its_commit_is_fenced_when_it_wakes(
    place: Place,
) -> None:
    sleeper, owner = place.writer(A, B), place.writer(A)

    def meanwhile() -> None:
        owner.write(place.log.batch({A: (0, 9)}))
        owner.write(place.log.batch({A: (9, 15)}))

    place.window.after = meanwhile
    with pytest.raises(StalePosition):
        sleeper.write(place.log.batch({A: (0, 12), B: (0, 12)}))
    sleeper.positions([place.log.partition(i) for i in (A, B)])
    sleeper.write(place.log.batch({A: (12, 20), B: (0, 12)}))
    place.assert_holds(place.log.batch({A: (0, 20), B: (0, 12)}))


@pytest.mark.parametrize("kind", ["quarantine"], indirect=True)
def test_what_a_zombie_put_off_is_never_committed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie, owner = place.writer(A, B), place.writer(A)
    zombie.write(place.log.without_rows({A: (0, 9), B: (0, 9)}))
    owner.write(place.log.batch({A: (0, 6)}))
    zombie.close()
    place.assert_holds(place.log.batch({A: (0, 6)}))
    a, b = (place.log.partition(i) for i in (A, B))
    assert place.writer().positions([a, b]) == {a: place.log.position(6), b: place.log.position(9)}
    late, next_owner = place.writer(A), place.writer(A)
    late.write(place.log.without_rows({A: (6, 9)}))
    before_the_next_commit(monkeypatch, lambda: next_owner.write(place.log.batch({A: (6, 7)})))
    late.close()
    place.assert_holds(place.log.batch({A: (0, 7)}))


# --- Positions moved by hand


def clean(folder: Path, coordinates: Coordinates = KAFKA) -> DeltaSink:
    """Make a writer of the clean table that has read nothing yet."""
    target = delta_target(str(folder), dict, coordinates, "clean")
    return DeltaSink("clean", target, FolderStore(folder), SystemClock())


def opened(folder: Path, *indices: int) -> DeltaSink:
    """Make a writer of the clean table that owns these partitions."""
    sink = clean(folder)
    sink.positions([LOG.partition(i) for i in indices])
    return sink


def move_by_hand(folder: Path, *txns: Transaction) -> None:
    """Commit positions without rows."""
    table = DeltaTable(str(folder))
    empty = pl.read_delta(str(folder)).clear()
    moved = CommitProperties(app_transactions=list(txns))
    write_deltalake(table, empty.to_arrow(), mode="append", commit_properties=moved)


def findings(folder: Path) -> set[FindingKind]:
    """Run verify on the clean table, without a quarantine; return the kinds of its findings."""
    tables = Tables(str(folder), f"{folder}_quarantine", dict, KAFKA, APP)
    return {f.kind for f in verify(tables).findings if str(folder) + ":" in f.detail}


def test_a_position_put_back_by_hand_stops_the_next_reader(tmp_path: Path) -> None:
    running = opened(tmp_path, A, B)
    running.write(LOG.batch({A: (0, 9), B: (0, 9)}))
    move_by_hand(tmp_path, Transaction(f"{APP}/{P0}", 4, 1))
    with pytest.raises(StalePosition):
        running.write(LOG.batch({A: (9, 12)}))
    for reader in (running, clean(tmp_path)):
        with pytest.raises(PositionLost, match=r"demo\.pin/0 .* is 4, but the table holds \d"):
            reader.positions([P0, P1])
    assert clean(tmp_path).positions([P1]) == {P1: Position(9)}


def test_a_position_put_back_is_seen_behind_many_files_of_other_partitions(
    tmp_path: Path,
) -> None:
    sink = opened(tmp_path, A, B)
    sink.write(LOG.batch({A: (0, 9)}))
    for n in range(3 * position_checks.MAX_FILES):
        sink.write(LOG.batch({B: (3 * n, 3 * n + 3)}))
    move_by_hand(tmp_path, Transaction(f"{APP}/{P0}", 4, 1))
    with pytest.raises(PositionLost, match="moved back"):
        clean(tmp_path).positions([P0])


def test_a_sequence_number_put_back_by_hand_stops_the_next_reader(tmp_path: Path) -> None:
    log = RecordLog(KINESIS)
    shard, before = log.partition(A), log.position(5)
    assert before is not None
    sink = clean(tmp_path, KINESIS)
    sink.positions([shard])
    sink.write(log.batch({A: (0, 9)}))
    own, lookup = positions.app_id(APP, shard), DeltaTable(str(tmp_path)).transaction_version
    move_by_hand(tmp_path, *positions.write(lookup, own, before, KINESIS, 1))
    with pytest.raises(PositionLost, match="moved back"):
        clean(tmp_path, KINESIS).positions([shard])


def test_verify_finds_a_position_put_forward_by_hand(tmp_path: Path) -> None:
    opened(tmp_path, A).write(LOG.batch({A: (0, 9)}))
    move_by_hand(tmp_path, Transaction(f"{APP}/{P0}", 50, 1))
    assert findings(tmp_path) == {FindingKind.POSITION}
    opened(tmp_path, A).write(LOG.batch({A: (50, 60)}))
    assert findings(tmp_path) == {FindingKind.LEDGER}


def test_a_restored_table_doubles_nothing_and_verify_names_what_it_lost(tmp_path: Path) -> None:
    # RESTORE takes the rows out and leaves the positions: the table goes on, with a hole.
    sink = opened(tmp_path, A)
    sink.write(LOG.batch({A: (0, 9)}))
    sink.write(LOG.batch({A: (9, 18)}))
    DeltaTable(str(tmp_path)).restore(1)
    assert clean(tmp_path).positions([P0]) == {P0: Position(18)}
    opened(tmp_path, A).write(LOG.batch({A: (18, 27)}))
    offsets = pl.read_delta(str(tmp_path))["_offset"].sort().to_list()
    assert offsets == LOG.batch({A: (0, 9)}).clean["_offset"].to_list() + (
        LOG.batch({A: (18, 27)}).clean["_offset"].to_list()
    )
    assert findings(tmp_path) == {FindingKind.MISSING}


# --- Two groups on one table


def other_group(home: Home) -> Home:
    """Configure the same pipeline, tables and topic as another deployment would."""
    tree = yaml.safe_load(home.config_path.read_text(encoding="utf-8"))
    twin = Home(home.folder / "twin")
    twin.folder.mkdir()
    tree["id"] += "twin"
    twin.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return twin


def ended_well(process: Process, log: Path) -> bool:
    """Return whether it ran until it was stopped, or gave up because it is not alone."""
    if process.poll() is None:
        return stop(process) == 0
    return process.returncode == 1 and "another" in log.read_text(encoding="utf-8")


@pytest.mark.real_broker
def test_two_groups_on_one_table_double_and_lose_nothing(broker: Broker, tmp_path: Path) -> None:
    topic, wave, waves = broker.create_topic(), 2_000, 12
    home = kafka_home(tmp_path, broker, topic)
    twin = other_group(home)
    with home.running("consume", "user") as one, twin.running("consume", "user") as two:
        for group in (f"pinpip-{topic}-user", f"pinpip-{topic}twin-user"):
            until(lambda group=group: sum(broker.members(group).values()) == 4, group)  # type: ignore[misc]
        for n in range(waves):
            broker.produce(topic, payloads(wave, since=n * wave))
            until(lambda n=n: home.rows() > n * wave or both_ended(one, two), "rows")  # type: ignore[misc]
        for process, folder in ((one, home.folder), (two, twin.folder)):
            assert ended_well(process, folder / "process.log")
    broker.produce(topic, payloads(wave, since=waves * wave))
    with home.running("consume", "user", log="after.log") as survivor:
        until(lambda: home.rows() >= (waves + 1) * wave, "all rows")
        assert stop(survivor) == 0
    assert_holds_once(home, payloads((waves + 1) * wave))


def both_ended(one: Process, two: Process) -> bool:
    """Whether both gave up."""
    return None not in {one.poll(), two.poll()}
