"""The log as the Delta sink writes it: beside other writers, and beside delta-rs."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import Any, cast
from uuid import uuid4

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Field, Schema, write_deltalake
from deltalake.schema import PrimitiveType
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from core.batch import KAFKA, Batch, Position
from core.errors import SinkError, StalePosition, TransientError
from core.protocols import Options
from sinks.delta import orphans, txns, watch
from sinks.delta import table as table_module
from sinks.delta.commit_log import Version
from sinks.delta.log import DeltaLog
from sinks.delta.positions import Lookup
from sinks.delta.sink import DeltaSink
from sinks.delta.watch import LOOK_EVERY
from sinks.storage import probe
from sinks.storage.protocol import Store
from sinks.storage.s3 import S3Store, client
from sinks.storage.store import FolderStore
from tests.contracts.sink_contract import Consumer
from tests.support.aws import TestAws
from tests.support.batches import CLEAN_SCHEMA
from tests.support.delta_logs import (
    LOG,
    A,
    B,
    by_the_second_specification,
    clean_up,
    entries,
    in_folder,
    in_threes,
    log_of,
    opened,
    require,
    table_of,
)
from tests.support.examples import examples
from tests.support.sink_backends import DeltaBackend

P0 = LOG.partition(A)
FOREIGN = 9  # the partition whose rows another program writes, without a position


class Counting:
    """A store that counts what is asked of it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self._store, name)


def foreign_rows(backend: DeltaBackend) -> None:
    """Delta-rs appends a row."""
    row = LOG.batch({FOREIGN: (1, 2)}).clean
    often = CommitProperties(max_commit_retries=1000)  # our writers are much faster
    write_deltalake(table_of(backend), row.to_arrow(), mode="append", commit_properties=often)


def foreign_property(backend: DeltaBackend) -> None:
    """Delta-rs changes the table's metadata."""
    table_of(backend).alter.set_table_properties({"delta.logRetentionDuration": "interval 0 days"})


def expiry(backend: DeltaBackend) -> None:
    """Delta-rs writes a checkpoint and takes away the log before it."""
    table_of(backend).create_checkpoint()
    table_of(backend).cleanup_metadata()


def compaction(backend: DeltaBackend) -> None:
    """Rewrite all rows with delta-rs."""
    table_of(backend).optimize.compact()


Foreign = Callable[[DeltaBackend], None]
Turn = tuple[int, int] | Foreign
_OTHERS: list[Foreign] = [foreign_rows, foreign_property, expiry, compaction]
_WRITES = st.tuples(st.integers(0, 1), st.integers(1, 4))
_TURNS = st.lists(_WRITES | st.sampled_from(_OTHERS), min_size=4, max_size=14)
# Against moto in this process the others do not end: delta-rs seems to keep the interpreter's lock.
_TURNS_IN_S3 = st.lists(_WRITES | st.just(foreign_rows), min_size=4, max_size=14)
_END = 4 * 14


def play(backend: DeltaBackend, turns: list[Turn]) -> None:
    """Two consumers of the same partitions and delta-rs, as `turns` say; then each row is once."""
    opened(backend, A, B).write(LOG.batch({A: (0, 1), B: (0, 1)}))
    consumers = [Consumer(backend, LOG), Consumer(backend, LOG)]
    foreign = 0
    for turn in turns:
        if isinstance(turn, tuple):
            consumers[turn[0]].write((A, B), turn[1])
        else:
            turn(backend)
            foreign += turn is foreign_rows
    Consumer(backend, LOG).finish(_END)
    wanted = LOG.batch({A: (0, _END), B: (0, _END)}).clean
    found = backend.rows()
    others = found.filter(pl.col("_partition") == FOREIGN)
    assert others.height == foreign
    own = found.filter(pl.col("_partition") != FOREIGN)
    assert_frame_equal(own.select(wanted.columns), wanted, check_row_order=False)


@settings(max_examples=examples(25), deadline=None)
@given(_TURNS)
def test_any_interleaving_with_delta_rs_in_a_folder_writes_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, turns: list[Turn]
) -> None:
    play(in_folder(tmp_path_factory.mktemp("table")), turns)


def test_any_interleaving_with_delta_rs_in_a_bucket_writes_each_row_once(aws: TestAws) -> None:
    bucket, connection = aws.bucket(), client(aws.config)

    @settings(max_examples=examples(4), deadline=None)
    @given(_TURNS_IN_S3)
    def run(turns: list[Turn]) -> None:
        store = S3Store(connection, bucket, uuid4().hex)
        play(DeltaBackend(store, aws.storage_options, "clean", KAFKA), turns)

    run()


def again(sink: DeltaSink, batch: Batch) -> None:
    """Write as the loop does: a writer whom others overtook 20 times is not at its end."""
    while True:
        with suppress(TransientError):
            return sink.write(batch)


@pytest.mark.slow
def test_writers_at_the_same_time_have_a_version_each(tmp_path: Path) -> None:
    backend, most = in_folder(tmp_path), 30
    opened(backend, 5).write(LOG.batch({5: (0, 1)}))

    def write(index: int) -> None:
        sink = opened(backend, index)
        for n in range(most):
            again(sink, LOG.batch({index: (n, n + 1)}))

    def append() -> None:
        for _ in range(most):
            foreign_rows(backend)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(write, A), pool.submit(write, B), pool.submit(append)]:
            done.result()
    assert table_of(backend).version() == 1 + 3 * most
    held = opened(backend).positions([LOG.partition(i) for i in (A, B)])
    assert set(held.values()) == {Position(most)}
    wanted = LOG.batch({A: (0, most), B: (0, most)}).clean
    found = backend.rows().filter(pl.col("_partition") <= B)
    assert_frame_equal(found.select(wanted.columns), wanted, check_row_order=False)


@pytest.mark.parametrize("partitions", [1, 16])
def test_a_commit_asks_the_store_for_the_same_at_any_age(tmp_path: Path, partitions: int) -> None:
    store = Counting(FolderStore(tmp_path))
    indices = range(partitions)
    sink = opened(in_folder(tmp_path), *indices, store=cast(Store, store))
    asked = []
    for n in range(1 + 3 * LOOK_EVERY):
        store.calls.clear()
        sink.write(LOG.batch(dict.fromkeys(indices, (2 * n, 2 * n + 2))))
        asked.append(dict(store.calls))
    look = {"put_new": 2, "find": 2, "absent": 1}
    assert asked[1:] == ([{"put_new": 2}] * (LOOK_EVERY - 1) + [look]) * 3


def test_an_entry_is_what_other_engines_read(tmp_path: Path) -> None:
    backend = in_folder(tmp_path)
    batch = LOG.batch({A: (0, 9), B: (0, 9)})
    opened(backend, A, B).write(batch)
    [told, _] = table_of(backend).history()
    assert (told["operation"], told["isBlindAppend"]) == ("WRITE", True)
    rows = table_of(backend).to_pyarrow_table(filters=[("_offset", ">", 4)])
    wanted = batch.clean.filter(pl.col("_offset") > 4)
    found = cast(pl.DataFrame, pl.from_arrow(rows))
    assert_frame_equal(found.select(wanted.columns), wanted, check_row_order=False)


def test_a_table_that_was_taken_away_is_not_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = in_folder(tmp_path)
    sink = opened(backend, A)
    in_threes(sink, range(3))
    rmtree(tmp_path)
    monkeypatch.setattr(watch, "PAUSE_S", -1.0)
    with pytest.raises(StalePosition):
        sink.write(LOG.batch({A: (9, 12)}))
    assert entries(backend) == [0]
    assert sink.positions([P0]) == {P0: None}


class Sleepy(FolderStore):
    """A folder whose writer sleeps before a put while something happens."""

    def __init__(self, store: Store, meanwhile: Callable[[], None]) -> None:
        super().__init__(Path(store.uri))
        self._meanwhile = meanwhile

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """As a folder's, a long time later."""
        if key != probe.KEY:
            self._meanwhile()
        return super().put_new(key, body, metadata)


def test_a_writer_far_behind_goes_on_from_the_newest_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = in_folder(tmp_path)
    owner, sleeper = opened(backend, A), opened(backend, B)
    in_threes(owner, range(4))
    sleeper.positions([LOG.partition(B)])
    in_threes(owner, range(4, 8))
    table_of(backend).create_checkpoint()
    clean_up(backend, left=())
    monkeypatch.setattr(watch, "PAUSE_S", -1.0)
    sleeper.write(LOG.batch({B: (0, 3)}))
    assert entries(backend) == [9]
    assert opened(backend).positions([LOG.partition(B)]) == {LOG.partition(B): Position(3)}


@pytest.mark.parametrize(
    ("left", "hint"), [((), True), ((1,), True), ((0, 1), True), ((), False)], ids=str
)
def test_an_entry_that_was_put_beside_a_hole_is_no_commit(
    tmp_path: Path, left: tuple[int, ...], *, hint: bool
) -> None:
    backend = in_folder(tmp_path)
    owner = opened(backend, A)
    owner.write(LOG.batch({A: (0, 3)}))

    def meanwhile() -> None:
        in_threes(owner, range(1, 4))
        table_of(backend).create_checkpoint()
        clean_up(backend, left)
        if not hint:
            (log_of(backend) / "_last_checkpoint").unlink()

    log = DeltaLog(Sleepy(backend.store, meanwhile), 1, lambda _: None)
    with pytest.raises(StalePosition, match="was cleaned up about version 1"):
        log.append(Version("", 0))
    assert log.version == 1
    assert table_of(backend).version() == 4


@pytest.mark.parametrize("hint", [b"", b"{", b"[]", b"null", b'{"version": null}'])
def test_a_damaged_hint_at_the_last_checkpoint_stops_nobody(tmp_path: Path, hint: bytes) -> None:
    backend = in_folder(tmp_path)
    sink = opened(backend, A)
    sink.write(LOG.batch({A: (0, 3)}))
    (log_of(backend) / "_last_checkpoint").write_bytes(hint)
    sink.write(LOG.batch({A: (3, 6)}))
    assert sink.positions([P0]) == {P0: Position(6)}


def in_two_parts(backend: DeltaBackend) -> None:
    """Write a checkpoint of the newest version in two files."""
    version = table_of(backend).version()
    table_of(backend).create_checkpoint()
    whole = log_of(backend) / f"{version:020d}.checkpoint.parquet"
    rows = pl.read_parquet(whole)
    whole.unlink()
    for n, part in enumerate([rows[:3], rows[3:]], 1):
        part.write_parquet(whole.with_suffix(f".{n:010d}.{2:010d}.parquet"))
    hint = {"version": version, "size": rows.height, "parts": 2}
    (log_of(backend) / "_last_checkpoint").write_text(json.dumps(hint))


@pytest.mark.parametrize("checkpoint", [in_two_parts, by_the_second_specification])
def test_a_log_that_begins_with_a_checkpoint_of_any_kind_is_written_on(
    tmp_path: Path, checkpoint: Foreign
) -> None:
    backend = in_folder(tmp_path)
    sink = opened(backend, A)
    in_threes(sink, range(4))
    checkpoint(backend)
    clean_up(backend, left=())
    sink.positions([P0])
    sink.write(LOG.batch({A: (12, 15)}))
    sink.write(LOG.batch({A: (15, 18)}))
    opened(backend, A).write(LOG.batch({A: (18, 21)}))
    # read_delta does not read checkpoints of the second specification.
    found = pl.read_parquet(table_of(backend).file_uris())
    assert_frame_equal(found, LOG.batch({A: (0, 21)}).clean, check_row_order=False)


def test_a_writer_that_is_behind_follows_and_opens_the_table_anew(tmp_path: Path) -> None:
    backend = in_folder(tmp_path)
    late, others = opened(backend, B), opened(backend, A)
    others.write(LOG.batch({A: (0, 1)}))
    late.positions([LOG.partition(B)])
    for n in range(1, 45):
        others.write(LOG.batch({A: (n, n + 1)}))
    late.write(LOG.batch({B: (0, 4)}))
    assert late.positions([LOG.partition(B)]) == {LOG.partition(B): Position(4)}


def test_a_writer_overtaken_again_and_again_gives_up_for_now_and_can_go_on(tmp_path: Path) -> None:
    backend = in_folder(tmp_path)
    others = opened(backend, A)
    others.write(LOG.batch({A: (0, 1)}))
    ahead = count(1)

    def meanwhile() -> None:
        n = next(ahead)
        if n <= 21:
            others.write(LOG.batch({A: (n, n + 1)}))

    late = opened(backend, B, store=Sleepy(backend.store, meanwhile))
    with pytest.raises(TransientError, match="other writers were faster"):
        late.write(LOG.batch({B: (0, 4)}))
    late.write(LOG.batch({B: (0, 4)}))
    assert late.positions([LOG.partition(B)]) == {LOG.partition(B): Position(4)}


def test_a_writer_whose_look_at_the_positions_failed_compares_none_it_did_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = in_folder(tmp_path)
    opened(backend, 5).write(LOG.batch({5: (0, 3)}))
    late = opened(backend, A, B)
    opened(backend, A, B).write(LOG.batch({A: (0, 3), B: (0, 3)}))
    versions, asked = txns.versions, count()

    def failing_at_the_second(found: DeltaTable, options: Options) -> Lookup:
        lookup = versions(found, options)

        def look_up(app_id: str) -> int | None:
            if next(asked) == 1:
                raise OSError("Generic S3 error: the connection was closed")
            return lookup(app_id)

        return look_up

    with monkeypatch.context() as patch:
        patch.setattr(txns, "versions", failing_at_the_second)
        with pytest.raises(TransientError):
            late.positions([LOG.partition(i) for i in (A, B)])
    with pytest.raises(StalePosition):
        late.write(LOG.batch({B: (0, 3)}))
    assert backend.rows().height == 3 * LOG.batch({A: (0, 3)}).clean.height


def test_what_was_not_learnt_is_never_taken_for_absent(tmp_path: Path) -> None:
    unread: dict[str, int | None] = {}
    log = DeltaLog(FolderStore(tmp_path), 0, unread.__getitem__)
    with pytest.raises(KeyError):
        log.txn_version("an id")
    unread["an id"] = None
    assert log.txn_version("an id") is None


def delete(backend: DeltaBackend) -> None:
    """Delta-rs takes the foreign row away."""
    assert table_of(backend).delete(f"_partition = {FOREIGN}")["num_deleted_rows"] == 1


def vacuum(backend: DeltaBackend) -> None:
    """Delta-rs removes what no version within the last week refers to."""
    table_of(backend).vacuum(dry_run=False, full=True)


def restore(backend: DeltaBackend) -> None:
    """Delta-rs goes back to before the foreign row."""
    table_of(backend).restore(1)


@pytest.mark.parametrize("act", [delete, vacuum, restore, compaction])
@pytest.mark.parametrize("when", ["before the comparison", "after it"])
def test_what_delta_rs_does_to_the_files_does_not_stop_a_writer(
    tmp_path: Path, act: Foreign, when: str
) -> None:
    backend = in_folder(tmp_path)
    opened(backend, A).write(LOG.batch({A: (0, 6)}))
    foreign_rows(backend)
    acts = [lambda: act(backend)]

    def meanwhile() -> None:
        if when == "after it" and acts:
            acts.pop()()

    sink = opened(backend, A, store=Sleepy(backend.store, meanwhile))
    if when == "before the comparison":
        acts.pop()()
    sink.write(LOG.batch({A: (6, 12)}))
    assert sink.positions([P0]) == {P0: Position(12)}
    found = backend.rows().filter(pl.col("_partition") == A)
    assert_frame_equal(found, LOG.batch({A: (0, 12)}).clean, check_row_order=False)
    assert backend.rows().height - found.height == (act in (vacuum, compaction))


def written_and_asked_for(
    folder: Path, reader: int, feature: str
) -> tuple[DeltaBackend, DeltaSink]:
    """Write rows, then let the table require the feature; return the table and its sink."""
    backend = in_folder(folder)
    sink = opened(backend, A)
    sink.write(LOG.batch({A: (0, 3)}))
    require(backend, reader, [feature])
    return backend, sink


@pytest.mark.parametrize(
    ("reader", "feature"),
    [
        *((1, name) for name in ("appendOnly", "invariants", "checkConstraints")),
        *((1, name) for name in ("changeDataFeed", "generatedColumns", "identityColumns")),
        (1, "allowColumnDefaults"),
        *((3, name) for name in ("columnMapping", "deletionVectors", "timestampNtz")),
        *((3, name) for name in ("v2Checkpoint", "vacuumProtocolCheck")),
    ],
)
def test_features_that_ask_nothing_of_an_append_are_written_on(
    tmp_path: Path, reader: int, feature: str
) -> None:
    backend, sink = written_and_asked_for(tmp_path, reader, feature)
    sink.write(LOG.batch({A: (3, 6)}))
    opened(backend, A).write(LOG.batch({A: (6, 9)}))
    found = pl.read_parquet(table_of(backend).file_uris())  # read_delta knows fewer features
    assert_frame_equal(found, LOG.batch({A: (0, 9)}).clean, check_row_order=False)


@pytest.mark.parametrize(
    ("reader", "feature"),
    [
        *((1, name) for name in ("rowTracking", "inCommitTimestamp", "domainMetadata")),
        *((1, name) for name in ("icebergCompatV1", "icebergCompatV2", "clustering")),
        (1, "unheardOf"),
        *((3, name) for name in ("typeWidening", "variantType")),
    ],
)
def test_features_that_ask_more_of_an_append_are_refused_at_once(
    tmp_path: Path, reader: int, feature: str
) -> None:
    backend, sink = written_and_asked_for(tmp_path, reader, feature)
    with pytest.raises(SinkError, match=f"it uses {feature}"):
        sink.write(LOG.batch({A: (3, 6)}))
    with pytest.raises(SinkError, match=f"it uses {feature}"):
        opened(backend, A)
    assert entries(backend) == [0, 1, 2]


def test_a_gap_that_one_listing_shows_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = in_folder(tmp_path)
    sink = opened(backend, A)
    in_threes(sink, range(3))
    missed, away = log_of(backend) / f"{2:020d}.json", tmp_path / "away"
    missed.rename(away)

    def listed_late(*arguments: Any, **named: Any) -> DeltaTable:
        try:
            return DeltaTable(*arguments, **named)
        finally:
            away.rename(missed) if away.exists() else None

    monkeypatch.setattr(table_module, "DeltaTable", listed_late)
    assert sink.positions([P0]) == {P0: Position(9)}


def test_a_log_that_grows_during_every_listing_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = in_folder(tmp_path)
    sink = opened(backend, A)
    in_threes(sink, range(3))
    missed, away = log_of(backend) / f"{2:020d}.json", tmp_path / "away"

    def listed_early(*arguments: Any, **named: Any) -> DeltaTable:
        missed.rename(away)
        try:
            return DeltaTable(*arguments, **named)
        finally:
            away.rename(missed)

    monkeypatch.setattr(table_module, "DeltaTable", listed_early)
    assert sink.positions([P0]) == {P0: Position(9)}


def test_a_gap_that_every_listing_shows_is_damage(tmp_path: Path) -> None:
    backend = in_folder(tmp_path)
    sink = opened(backend, A)
    in_threes(sink, range(3))
    foreign_rows(backend)
    (log_of(backend) / f"{2:020d}.json").unlink()
    with pytest.raises(SinkError, match=r"the log of table .* is damaged"):
        sink.positions([P0])
    assert entries(backend) == [0, 1, 3, 4]


def test_a_gap_before_many_entries_is_damage(tmp_path: Path) -> None:
    backend = in_folder(tmp_path)
    sink = opened(backend, A)
    in_threes(sink, range(orphans.MOST + 2))
    (log_of(backend) / f"{1:020d}.json").unlink()
    with pytest.raises(SinkError, match=r"the log of table .* is damaged"):
        sink.positions([P0])
    assert len(entries(backend)) == orphans.MOST + 2


def constrain(found: DeltaTable) -> None:
    """Add a constraint on the rows themselves."""
    found.alter.add_constraint({"early": "_offset < 1000"})


def widen(found: DeltaTable) -> None:
    """Add a column whose values a writer must make."""
    told = {"CURRENT_DEFAULT": "1"}
    found.alter.add_columns([Field("more", PrimitiveType("long"), metadata=told)])


@pytest.mark.parametrize(("change", "said"), [(constrain, "early"), (widen, "more")])
def test_a_table_that_comes_to_ask_for_more_is_refused_by_the_next_commit(
    tmp_path: Path, change: Callable[[DeltaTable], None], said: str
) -> None:
    backend = in_folder(tmp_path)
    sink = opened(backend, A)
    sink.write(LOG.batch({A: (0, 3)}))
    change(table_of(backend))
    with pytest.raises(SinkError, match=said):
        sink.write(LOG.batch({A: (3, 6)}))
    assert table_of(backend).count() == LOG.batch({A: (0, 3)}).clean.height


def test_a_partitioned_table_is_refused(tmp_path: Path) -> None:
    metadata = dict(KAFKA.metadata) | {"_rescued": pl.String()}
    arrow = pl.DataFrame(schema=CLEAN_SCHEMA | metadata).to_arrow().schema
    DeltaTable.create(str(tmp_path), Schema.from_arrow(arrow), partition_by=["_topic"])
    with pytest.raises(SinkError, match="partitions by _topic"):
        in_folder(tmp_path).sink().positions([P0])


def test_a_damaged_entry_of_another_writer_is_one_clear_error(tmp_path: Path) -> None:
    sink = opened(in_folder(tmp_path), A)
    sink.write(LOG.batch({A: (0, 3)}))
    (tmp_path / "_delta_log" / f"{2:020d}.json").write_text("{damaged")
    with pytest.raises(SinkError, match=r"the log of table .* is damaged"):
        sink.write(LOG.batch({A: (3, 6)}))
