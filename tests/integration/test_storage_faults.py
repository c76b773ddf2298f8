"""Every fault of an S3 against every request of ours: each record is there once afterwards.

The clients try nothing twice by themselves here, so that each fault reaches the sinks.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from botocore.config import Config
from polars.testing import assert_frame_equal

from chaos.proxy import StorageFault
from core import aws as connection
from core.batch import KAFKA, Position
from core.clock import SystemClock
from core.errors import SinkError, StalePosition, TransientError
from core.protocols import Options, Sink
from sinks.delta import table
from sinks.delta.sink import DeltaSink
from sinks.parquet.sink import ParquetSink
from sinks.storage.s3 import S3Store, client
from sinks.storage.store import FolderStore
from tests.support.aws import TestAws
from tests.support.batches import delta_target
from tests.support.delivery import LOG, PARTITIONS, STEP, Reactions, deliver, records
from tests.support.proxies import Rough, rough
from tests.support.s3_faults import answer, inject
from tests.support.sink_backends import DeltaBackend, ParquetBackend

# What the loop hears when a request that creates something meets this.
CREATING: dict[StorageFault, Reactions] = {
    StorageFault.INTERNAL_ERROR: [TransientError],
    StorageFault.SLOW_DOWN: [TransientError],
    StorageFault.RESET: [TransientError],
    StorageFault.CONFLICT: [],
    StorageFault.PRECONDITION: [],
    StorageFault.LOST_ANSWER: [TransientError],
    StorageFault.STALLED: [],
}
READING = [
    StorageFault.INTERNAL_ERROR,
    StorageFault.SLOW_DOWN,
    StorageFault.RESET,
    StorageFault.TRUNCATED,
]
ASKING = READING[:-1]
OVERWRITING = [*ASKING, StorageFault.LOST_ANSWER]
CHECKPOINTING = [
    *(("PUT", ".checkpoint.parquet", fault) for fault in OVERWRITING),
    *(("HEAD", ".checkpoint.parquet", fault) for fault in ASKING),
    *(("PUT", "_last_checkpoint", fault) for fault in OVERWRITING),
]
ONCE = {"mode": "standard", "total_max_attempts": 1}
MOVED = "partition%3D1"  # in the names of one partition's objects, as they are asked for


@dataclass(frozen=True)
class Place:
    """An empty prefix, reached directly and through the proxy."""

    direct: TestAws
    proxy: Rough
    bucket: str
    prefix: str

    @property
    def uri(self) -> str:
        """Of the table, or of all chains."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def rough(self) -> TestAws:
        """By way of the proxy."""
        return TestAws(self.proxy.endpoint)

    def options(self, timeout: int = 30) -> Options:
        """Delta-rs's, by way of the proxy."""
        own = {"retry_timeout": "0s", "timeout": f"{timeout}s"}
        return lambda: self.rough.storage_options() | own

    def store(self, timeout: int = 30) -> S3Store:
        """By way of the proxy."""
        settings = Config(read_timeout=timeout, retries=ONCE)  # type: ignore[arg-type]  # a literal
        return S3Store(
            connection.client(self.rough.config, "s3", settings), self.bucket, self.prefix
        )

    def delta(self, timeout: int = 30) -> DeltaSink:
        """Make a sink behind the proxy."""
        return self.delta_sink(self.store(timeout), self.options(timeout))

    def delta_sink(self, store: S3Store, options: Options) -> DeltaSink:
        """Make a sink on this table."""
        target = delta_target(self.uri, options, KAFKA, "clean")
        return DeltaSink("clean", target, store, SystemClock())

    def parquet(self, timeout: int = 30) -> ParquetSink:
        """Make a sink behind the proxy."""
        return ParquetSink(self.store(timeout), "raw", KAFKA, "archive")

    def table(self) -> DeltaBackend:
        """Return the table without the proxy."""
        return DeltaBackend(self._store(), self.direct.storage_options, "clean", KAFKA)

    def chains(self) -> ParquetBackend:
        """Return the chains without the proxy."""
        return ParquetBackend(self._store(), "raw", KAFKA)

    def _store(self) -> S3Store:
        return S3Store(client(self.direct.config), self.bucket, self.prefix)


def assert_once(held: DeltaBackend | ParquetBackend, count: int) -> None:
    """Assert that the first records of both partitions are stored, each once and unchanged."""
    kept = held.kept(records(count))
    assert_frame_equal(held.rows().select(kept.columns), kept, check_row_order=False)


@pytest.fixture(scope="module")
def proxy(aws: TestAws) -> Iterator[Rough]:
    """Before moto; a late answer comes after two seconds."""
    with rough(aws.endpoint, stall=2.0) as made:
        yield made


@pytest.fixture(scope="module")
def bucket(aws: TestAws) -> str:
    """For all tests."""
    return aws.bucket()


@pytest.fixture
def place(aws: TestAws, proxy: Rough, bucket: str) -> Iterator[Place]:
    """Empty; all faults that the test plans must be met."""
    yield Place(aws, proxy, bucket, uuid4().hex)
    left, proxy.proxy.plan.planned = proxy.proxy.plan.planned, []
    assert left == []


def met_in_turn(place: Place, sink: Sink, method: str, part: str) -> dict[StorageFault, Reactions]:
    """Inject each fault into a creating request in turn; return the reactions to each."""
    assert deliver(sink, STEP) == []
    told = {}
    for n, fault in enumerate(CREATING, 1):
        place.proxy.next(method, part, fault)
        told[fault] = deliver(sink, (n + 1) * STEP, since=n * STEP)
    return told


ALL = (len(CREATING) + 1) * STEP


def test_each_fault_of_a_data_file(place: Place) -> None:
    assert met_in_turn(place, place.delta(), "PUT", "/part-") == CREATING
    assert_once(place.table(), ALL)


def test_each_fault_of_a_commit(place: Place) -> None:
    told = met_in_turn(place, place.delta(), "PUT", "_delta_log/0")
    assert told == CREATING | {StorageFault.LOST_ANSWER: [TransientError, StalePosition]}
    assert_once(place.table(), ALL)


def test_each_fault_of_an_archived_object(place: Place) -> None:
    assert met_in_turn(place, place.parquet(), "PUT", MOVED) == CREATING
    assert_once(place.chains(), ALL)


@pytest.mark.parametrize("fault", CREATING)
def test_each_fault_of_the_commit_that_makes_a_table(place: Place, fault: StorageFault) -> None:
    place.proxy.next("PUT", f"{0:020d}.json", fault)
    assert deliver(place.delta(), STEP) in ([], [TransientError])
    assert_once(place.table(), STEP)


def test_whichever_request_of_a_commit_meets_a_fault(
    aws: TestAws, proxy: Rough, bucket: str
) -> None:
    seen = nth = 1
    while seen >= nth:
        place = Place(aws, proxy, bucket, uuid4().hex)
        deliver(place.table().sink(), STEP)
        sink = place.delta()
        sink.positions(PARTITIONS)
        with proxy.only(nth, StorageFault.RESET) as plan:
            told = deliver(sink, 2 * STEP, since=STEP)
        assert told in ([], [TransientError], [TransientError, StalePosition])
        assert_once(place.table(), 2 * STEP)
        seen, nth = plan.seen, nth + 1
    assert seen > 3


@pytest.mark.parametrize("fault", READING)
def test_a_fault_of_reading_the_log_is_not_taken_for_damage(
    place: Place, fault: StorageFault
) -> None:
    deliver(place.table().sink(), STEP)
    for part in ("list-type", f"{1:020d}.json"):
        place.proxy.next("GET", part, fault)
        with pytest.raises(TransientError, match="does not answer"):
            place.delta().positions(PARTITIONS)
    assert deliver(place.delta(), 2 * STEP) == []


def test_a_fault_of_a_checkpoint_leaves_the_table_whole(place: Place) -> None:
    sink = place.table().sink()
    for n, (method, part, fault) in enumerate(CHECKPOINTING, 1):
        deliver(sink, n * STEP)
        place.proxy.next(method, part, fault)
        with suppress(TransientError):
            table.checkpoint(place.uri, place.options())
        assert set(sink.positions(PARTITIONS).values()) == {Position(n * STEP)}
    table.checkpoint(place.uri, place.options())
    assert_once(place.table(), len(CHECKPOINTING) * STEP)


@pytest.mark.parametrize("fault", READING)
def test_each_fault_of_reading_a_checkpoint(place: Place, fault: StorageFault) -> None:
    deliver(place.table().sink(), STEP)
    table.checkpoint(place.uri, place.direct.storage_options)
    place.proxy.next("GET", ".checkpoint.parquet", fault)
    with pytest.raises(TransientError, match="does not answer"):
        place.delta().positions(PARTITIONS)
    assert deliver(place.delta(), 2 * STEP) == []


def test_a_fault_of_a_look_for_rows_without_a_position(place: Place) -> None:
    rows = LOG.batch({0: (0, STEP), 2: (0, STEP)}).clean
    rows.write_delta(place.uri, storage_options=place.direct.storage_options())
    tries = [StorageFault.RESET] * 9 * 2  # polars's own, and of two reads at a time
    place.proxy.next("GET", "/part-", *tries)
    with pytest.raises(TransientError, match="does not answer"):
        place.delta().positions([LOG.partition(1)])
    place.proxy.proxy.plan.planned.clear()
    assert place.delta().positions([LOG.partition(1)]) == {LOG.partition(1): None}


@pytest.mark.parametrize(
    ("method", "part", "faults"), [("GET", "list-type", READING), ("HEAD", MOVED, ASKING)]
)
def test_each_fault_of_a_look_for_the_end_of_a_chain(
    place: Place, method: str, part: str, faults: list[StorageFault]
) -> None:
    deliver(place.chains().sink(), STEP)
    for fault in faults:
        place.proxy.next(method, part, fault)
        with pytest.raises(TransientError):
            place.parquet().positions(PARTITIONS)
    assert deliver(place.parquet(), 2 * STEP) == []
    assert_once(place.chains(), 2 * STEP)


@pytest.mark.parametrize("fault", READING)
def test_each_fault_of_a_footer_that_serves_for_lost_metadata(
    place: Place, fault: StorageFault
) -> None:
    deliver(place.chains().sink(), STEP)
    store, s3 = place.chains().store, place.direct.client("s3")
    for key in store.list(""):
        s3.put_object(Bucket=place.bucket, Key=f"{place.prefix}/{key}", Body=store.read(key))
    place.proxy.next("GET", f"{MOVED}/", fault)
    with pytest.raises(TransientError):
        place.parquet().positions(PARTITIONS)
    assert deliver(place.parquet(), 2 * STEP) == []


@pytest.mark.parametrize("fault", ASKING)
def test_a_fault_on_the_way_to_know_an_object_as_our_own(place: Place, fault: StorageFault) -> None:
    sink = place.parquet()
    deliver(sink, STEP)
    place.proxy.next("PUT", MOVED, StorageFault.PRECONDITION)
    place.proxy.next("HEAD", MOVED, fault)
    assert deliver(sink, 2 * STEP, since=STEP) == [TransientError]
    assert_once(place.chains(), 2 * STEP)


def test_a_name_that_is_taken_by_nothing_yet_is_tried_again(place: Place) -> None:
    store = place.store()
    sink = ParquetSink(store, "raw", KAFKA, "archive")
    deliver(sink, STEP)
    inject(store, "PutObject", [answer(412, "PreconditionFailed")], only=MOVED)
    assert deliver(sink, 2 * STEP, since=STEP) == [TransientError]
    assert_once(place.chains(), 2 * STEP)


@pytest.mark.parametrize("part", ["/part-", "_delta_log/0"])
def test_a_commit_that_is_answered_after_the_time_out_is_there_once(
    place: Place, part: str
) -> None:
    sink = place.delta(timeout=1)
    deliver(sink, STEP)
    place.proxy.next("PUT", part, StorageFault.STALLED)
    assert TransientError in deliver(sink, 2 * STEP, since=STEP)
    assert_once(place.table(), 2 * STEP)


def test_an_object_that_is_answered_after_the_time_out_is_our_own(place: Place) -> None:
    sink = place.parquet(timeout=1)
    deliver(sink, STEP)
    place.proxy.next("PUT", MOVED, StorageFault.STALLED)
    assert set(deliver(sink, 2 * STEP, since=STEP)) == {TransientError}
    assert_once(place.chains(), 2 * STEP)


def test_the_client_s_own_second_try_finds_the_first_one_done(place: Place) -> None:
    store = S3Store(client(place.rough.config), place.bucket, place.prefix)
    sink = place.delta_sink(store, place.options())
    archive = ParquetSink(store, "raw", KAFKA, "archive")
    deliver(sink, STEP)
    for n, part in enumerate(("/part-", "_delta_log/0"), 1):
        place.proxy.next("PUT", part, StorageFault.LOST_ANSWER)
        assert deliver(sink, (n + 1) * STEP, since=n * STEP) == []
    place.proxy.next("PUT", MOVED, StorageFault.LOST_ANSWER)
    assert deliver(archive, STEP) == []
    assert_once(place.table(), 3 * STEP)


@pytest.mark.parametrize("damage", ["removed", "overwritten"])
def test_a_damaged_data_file_is_not_taken_for_a_passing_fault(tmp_path: Path, damage: str) -> None:
    LOG.batch({0: (0, STEP), 2: (0, STEP)}).clean.write_delta(str(tmp_path))
    [file] = tmp_path.glob("*.parquet")
    file.unlink() if damage == "removed" else file.write_bytes(b"damaged" * 9)
    backend = DeltaBackend(FolderStore(tmp_path), dict, "clean", KAFKA)
    with pytest.raises(SinkError, match=r"a data file of table .* is missing or damaged"):
        backend.sink().positions([LOG.partition(1)])
