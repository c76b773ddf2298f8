"""Memory in flight: an upload gives its bytes back, whatever the commits before it do."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event, Thread

import pytest

from consumers.engine import flights
from consumers.engine.loop import Loop
from core.batch import Batch
from core.errors import SinkError
from tests.support.clock import ManualClock
from tests.support.member import LIMITS, P0, fill, offsets
from tests.support.memory import MemoryBroker, MemorySink, MemorySource, MemoryTable, process
from tests.support.processes import until

BATCHES = 8
CHUNK = LIMITS.max_records
RECORDS = BATCHES * CHUNK
ONE_BATCH = replace(LIMITS, max_wait=60.0, max_in_flight=1000)


class Body:
    """A batch that holds a kilobyte until its upload is over."""

    nbytes = 1000

    def __init__(self, batch: Batch, sink: "Slow") -> None:
        self.batch, self._sink = batch, sink

    def upload(self) -> None:
        self._sink.may_upload.wait()
        if self._sink.fault is not None:
            raise self._sink.fault
        self.nbytes = 0
        self._sink.uploads += 1


class Slow(MemorySink):
    """A sink whose uploads and commits wait for the test."""

    def __init__(self, table: MemoryTable) -> None:
        super().__init__(table)
        self.may_upload, self.may_commit = Event(), Event()
        self.uploads = 0
        self.fault: Exception | None = None

    def prepare(self, batch: Batch) -> Body:  # type: ignore[override]
        return Body(batch, self)

    def commit(self, prepared: Sequence[Body]) -> None:  # type: ignore[override]
        self.may_commit.wait()
        for one in prepared:
            self.write(one.batch)


class Running:
    """A loop in a thread of its own."""

    def __init__(self) -> None:
        broker, self.table = MemoryBroker(), MemoryTable()
        fill(broker, P0, RECORDS)
        self.sink, self.source = Slow(self.table), MemorySource(broker, CHUNK)
        self.source.assign(P0)
        self.error: Exception | None = None
        self.pool = ThreadPoolExecutor(8)
        sinks, clock = [self.sink], ManualClock()
        self.loop = Loop(self.source, process, sinks, ONE_BATCH, clock, self.pool)
        self.thread = Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.loop.run()
        except SinkError as error:
            self.error = error

    def end(self) -> None:
        """Let everything through, and wait for the end."""
        self.sink.may_upload.set()
        self.sink.may_commit.set()
        self.thread.join(20)
        self.pool.shutdown()
        assert not self.thread.is_alive()


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running()
    yield made
    made.end()


def test_batches_are_read_and_uploaded_while_the_commit_of_the_first_hangs(
    running: Running,
) -> None:
    running.sink.may_upload.set()
    until(lambda: running.sink.uploads == BATCHES, "all uploads")
    assert not running.table.rows
    running.end()
    assert offsets(running.table, P0) == [*range(RECORDS)]


def test_a_batch_waits_while_the_bytes_before_it_are_not_uploaded(running: Running) -> None:
    until(lambda: running.source.paused, "a loop that waits for room")
    at = running.source.next[P0]
    assert at is not None
    assert at.number <= 4 * CHUNK  # two are decoded beside the first, and one is buffered
    running.end()
    assert offsets(running.table, P0) == [*range(RECORDS)]


def test_no_more_than_so_many_batches_fly_though_none_of_them_holds_memory(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "MOST", 3)
    running.sink.may_upload.set()
    until(lambda: running.source.paused, "a loop that waits for room")
    assert running.sink.uploads == 3
    running.end()
    assert offsets(running.table, P0) == [*range(RECORDS)]


def test_an_upload_that_fails_is_the_error_of_its_batch(running: Running) -> None:
    running.sink.fault = SinkError("the bucket is gone", "make it")
    running.end()
    assert running.error is running.sink.fault
    assert not running.table.rows
