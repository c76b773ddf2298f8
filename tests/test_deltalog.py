"""The log as the Delta sink writes it: beside other writers, and beside delta-rs."""

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Field, Schema, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pinpip.batch import KAFKA, Position
from pinpip.errors import SinkError, StalePosition, TransientError
from sinks.delta import DeltaSink
from sinks.deltalog import Log as DeltaLog
from sinks.deltalog import commit_info
from sinks.s3 import S3Store, client
from sinks.store import FolderStore, Store
from tests.contracts.sink_contract import Consumer
from tests.support.aws import TestAws
from tests.support.batches import CLEAN_SCHEMA, Log
from tests.test_sink_contract import DeltaBackend

LOG = Log(KAFKA)
A, B = 0, 1
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


def in_folder(folder: Path) -> DeltaBackend:
    """A table on disk."""
    return DeltaBackend(FolderStore(folder), {}, "clean", KAFKA)


def opened(backend: DeltaBackend, *indices: int, store: Store | None = None) -> DeltaSink:
    """A sink that knows the positions of these partitions."""
    made = cast(
        DeltaSink, DeltaBackend(store or backend.store, backend.options, "clean", KAFKA).sink()
    )
    made.positions([LOG.partition(i) for i in indices])
    return made


def table(backend: DeltaBackend) -> DeltaTable:
    """As delta-rs sees it."""
    return DeltaTable(backend.store.uri, storage_options=backend.options)


def foreign_rows(backend: DeltaBackend) -> None:
    """Delta-rs appends a row."""
    row = LOG.batch({FOREIGN: (1, 2)}).clean
    often = CommitProperties(max_commit_retries=1000)  # our writers are much faster
    write_deltalake(table(backend), row.to_arrow(), mode="append", commit_properties=often)


def foreign_property(backend: DeltaBackend) -> None:
    """Delta-rs changes the table's metadata."""
    table(backend).alter.set_table_properties({"delta.logRetentionDuration": "interval 0 days"})


def expiry(backend: DeltaBackend) -> None:
    """Delta-rs writes a checkpoint and takes away the log before it."""
    table(backend).create_checkpoint()
    table(backend).cleanup_metadata()


def compaction(backend: DeltaBackend) -> None:
    """Delta-rs writes all rows anew."""
    table(backend).optimize.compact()


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


@settings(max_examples=25, deadline=None)
@given(_TURNS)
def test_any_interleaving_with_delta_rs_in_a_folder_writes_each_row_once(
    tmp_path_factory: pytest.TempPathFactory, turns: list[Turn]
) -> None:
    play(in_folder(tmp_path_factory.mktemp("table")), turns)


def test_any_interleaving_with_delta_rs_in_a_bucket_writes_each_row_once(aws: TestAws) -> None:
    bucket, connection = aws.bucket(), client(aws.config)

    @settings(max_examples=4, deadline=None)
    @given(_TURNS_IN_S3)
    def run(turns: list[Turn]) -> None:
        store = S3Store(connection, bucket, uuid4().hex)
        play(DeltaBackend(store, aws.storage_options, "clean", KAFKA), turns)

    run()


def test_writers_at_the_same_time_have_a_version_each(tmp_path: Path) -> None:
    backend, count = in_folder(tmp_path), 30
    opened(backend, 5).write(LOG.batch({5: (0, 1)}))

    def write(index: int) -> None:
        sink = opened(backend, index)
        for n in range(count):
            sink.write(LOG.batch({index: (n, n + 1)}))

    def append() -> None:
        for _ in range(count):
            foreign_rows(backend)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(write, A), pool.submit(write, B), pool.submit(append)]:
            done.result()
    assert table(backend).version() == 1 + 3 * count
    held = opened(backend).positions([LOG.partition(i) for i in (A, B)])
    assert set(held.values()) == {Position(count)}
    wanted = LOG.batch({A: (0, count), B: (0, count)}).clean
    found = backend.rows().filter(pl.col("_partition") <= B)
    assert_frame_equal(found.select(wanted.columns), wanted, check_row_order=False)


@pytest.mark.parametrize("partitions", [1, 16])
def test_a_commit_asks_the_store_for_the_same_at_any_age(tmp_path: Path, partitions: int) -> None:
    store = Counting(FolderStore(tmp_path))
    indices = range(partitions)
    sink = opened(in_folder(tmp_path), *indices, store=cast(Store, store))
    asked = []
    for n in range(40):
        store.calls.clear()
        sink.write(LOG.batch(dict.fromkeys(indices, (2 * n, 2 * n + 2))))
        asked.append(dict(store.calls))
    assert asked == [{"put_new": 2, "metadata": 2}] * 40


def test_an_entry_is_what_other_engines_read(tmp_path: Path) -> None:
    backend = in_folder(tmp_path)
    batch = LOG.batch({A: (0, 9), B: (0, 9)})
    opened(backend, A, B).write(batch)
    [told, _] = table(backend).history()
    assert (told["operation"], told["isBlindAppend"]) == ("WRITE", True)
    rows = table(backend).to_pyarrow_table(filters=[("_offset", ">", 4)])
    wanted = batch.clean.filter(pl.col("_offset") > 4)
    found = cast(pl.DataFrame, pl.from_arrow(rows))
    assert_frame_equal(found.select(wanted.columns), wanted, check_row_order=False)


def test_nothing_is_appended_beside_a_hole(tmp_path: Path) -> None:
    backend = in_folder(tmp_path)
    sleeper, owner = opened(backend, B), opened(backend, A)
    owner.write(LOG.batch({A: (0, 3)}))
    sleeper.positions([LOG.partition(B)])
    for n in range(1, 4):
        owner.write(LOG.batch({A: (3 * n, 3 * n + 3)}))
    foreign_property(backend)
    logs = sorted((tmp_path / "_delta_log").glob("*.json"))
    table(backend).create_checkpoint()
    for path in logs:
        path.unlink()
    with pytest.raises(StalePosition, match="no longer holds version 1"):
        sleeper.write(LOG.batch({B: (0, 3)}))
    assert not list((tmp_path / "_delta_log").glob("*.json"))


def test_an_entry_that_was_put_beside_a_hole_is_no_commit(tmp_path: Path) -> None:
    backend = in_folder(tmp_path)
    opened(backend, A).write(LOG.batch({A: (0, 3)}))
    log = DeltaLog(Sleepy(backend.store, tmp_path), 1)
    with pytest.raises(StalePosition, match="no longer holds version 1"):
        log.append([commit_info({}, "test", 0)])
    assert log.version == 1


class Sleepy(FolderStore):
    """A folder whose log expires while its writer sleeps before a put."""

    def __init__(self, store: Store, folder: Path) -> None:
        super().__init__(Path(store.uri))
        self._folder = folder

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """As a folder's, a long time later."""
        for path in self._folder.glob("_delta_log/*.json"):
            path.unlink()
        return super().put_new(key, body, metadata)


def test_a_writer_overtaken_again_and_again_gives_up_for_now_and_can_go_on(tmp_path: Path) -> None:
    backend = in_folder(tmp_path)
    late, others = opened(backend, B), opened(backend, A)
    others.write(LOG.batch({A: (0, 1)}))
    late.positions([LOG.partition(B)])
    for n in range(1, 25):
        others.write(LOG.batch({A: (n, n + 1)}))
    with pytest.raises(TransientError, match="other writers were faster"):
        late.write(LOG.batch({B: (0, 4)}))
    late.write(LOG.batch({B: (0, 4)}))
    assert late.positions([LOG.partition(B)]) == {LOG.partition(B): Position(4)}


def constrain(found: DeltaTable) -> None:
    """A rule that the rows themselves must obey."""
    found.alter.add_constraint({"early": "_offset < 1000"})


def widen(found: DeltaTable) -> None:
    """Another schema."""
    found.alter.add_columns([Field("more", "long")])  # type: ignore[arg-type]


@pytest.mark.parametrize(("change", "said"), [(constrain, "early"), (widen, "more")])
def test_a_table_that_comes_to_ask_for_more_is_refused_by_the_next_commit(
    tmp_path: Path, change: Callable[[DeltaTable], None], said: str
) -> None:
    backend = in_folder(tmp_path)
    sink = opened(backend, A)
    sink.write(LOG.batch({A: (0, 3)}))
    change(table(backend))
    with pytest.raises(SinkError, match=said):
        sink.write(LOG.batch({A: (3, 6)}))
    assert table(backend).count() == LOG.batch({A: (0, 3)}).clean.height


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
