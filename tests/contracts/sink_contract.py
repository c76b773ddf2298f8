"""What every sink must do; a backend's test module subclasses `SinkContract`.

class TestParquetInAFolder(SinkContract):
    @pytest.fixture
    def fresh(self, tmp_path): return lambda: ParquetBackend(...)
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from typing import Protocol

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from core.batch import Batch, Coordinates, Partition, Position
from core.errors import StalePosition
from core.protocols import Sink
from tests.support.batches import RecordLog
from tests.support.examples import examples

A, B = 0, 1


class SinkBackend(Protocol):
    """An empty table or folder, and the sinks that write to it."""

    coordinates: Coordinates

    def sink(self) -> Sink:
        """Make a new instance, as another process would."""
        ...

    def kept(self, batch: Batch) -> pl.DataFrame:
        """Return the rows of `batch` that this kind of sink writes."""
        ...

    def rows(self) -> pl.DataFrame:
        """All that is durable now, read back."""
        ...


def opened(backend: SinkBackend, *indices: int) -> Sink:
    """Make a sink that has read the positions of these partitions, by default of A and B."""
    sink = backend.sink()
    sink.positions(partitions(backend, indices or (A, B)))
    return sink


def partitions(backend: SinkBackend, indices: Iterable[int] = (A, B)) -> list[Partition]:
    """Return the partitions of these numbers."""
    return [RecordLog(backend.coordinates).partition(i) for i in indices]


def ends(batch: Batch) -> dict[Partition, Position | None]:
    """Where the batch's partitions end."""
    return {p: span.end for p, span in batch.spans.items()}


def assert_holds(backend: SinkBackend, wanted: Batch) -> None:
    """Assert that the backend contains the rows of `wanted`, each once and unchanged."""
    kept, found = backend.kept(wanted), backend.rows()
    assert_frame_equal(found.select(kept.columns), kept, check_row_order=False)


class Consumer:
    """Writes a log as a consumer's loop does: the sink's positions say where to go on."""

    def __init__(self, backend: SinkBackend, log: RecordLog) -> None:
        self._backend = backend
        self._log = log
        self.restart()

    def restart(self) -> None:
        """Lose all memory, as after kill -9."""
        self._sink = self._backend.sink()
        self.resume()

    def resume(self) -> None:
        """Read on from the sink's positions."""
        found = self._sink.positions(partitions(self._backend))
        self._next = [self._log.count(found[self._log.partition(i)]) for i in (A, B)]

    def rewind(self) -> None:
        """Read a little again, as when another sink of the pipeline is behind this one."""
        self._next = [max(0, n - 2) for n in self._next]

    def write(self, indices: Collection[int], more: int) -> None:
        """So many more records of these partitions; when stale, go back to the positions."""
        ends = [n + more if i in indices else n for i, n in enumerate(self._next)]
        batch = self._log.batch({i: (self._next[i], ends[i]) for i in indices})
        try:
            self._sink.write(batch)
        except StalePosition:
            self.resume()
        else:
            self._next = ends

    def overlap(self, indices: Collection[int], sizes: Sequence[int], committed: int) -> None:
        """Prepare several batches, upload the last one first; commit some, then the others.

        With `committed` beyond their number it crashes before the first commit.
        """
        try:
            reached = self._overlap(indices, sizes, committed)
        except StalePosition:
            self.resume()
        else:
            self._next = reached
        if committed > len(sizes):
            self.restart()

    def _overlap(self, indices: Collection[int], sizes: Sequence[int], committed: int) -> list[int]:
        starts, prepared = self._next, []
        for more in sizes:
            ends = [n + more if i in indices else n for i, n in enumerate(starts)]
            batch = self._log.batch({i: (starts[i], ends[i]) for i in indices})
            prepared.append(self._sink.prepare(batch))
            starts = ends
        for one in reversed(prepared):
            one.upload()
        for group in (prepared[:committed], prepared[committed:]):
            if group and committed <= len(sizes):
                self._sink.commit(group)
        return starts

    def finish(self, end: int) -> None:
        """All that is left."""
        self._sink.write(self._log.batch({i: (n, end) for i, n in enumerate(self._next)}))


Step = tuple[int, Callable[[Consumer], None]]
_WRITES = st.builds(
    lambda indices, more: lambda consumer: consumer.write(indices, more),
    st.sampled_from([(A,), (A,), (B,), (A, B)]),
    st.integers(1, 5),
)
_OVERLAPS = st.builds(
    lambda indices, sizes, committed: lambda consumer: consumer.overlap(indices, sizes, committed),
    st.sampled_from([(A,), (B,), (A, B)]),
    st.lists(st.integers(1, 2), min_size=2, max_size=3),
    st.integers(0, 4),
)
_MOVES = st.sampled_from([Consumer.restart, Consumer.resume, Consumer.rewind])
_STEPS = st.lists(
    st.tuples(st.integers(0, 1), _WRITES | _OVERLAPS | _MOVES), min_size=4, max_size=16
)
_END = 6 * 16


class SinkContract:
    """The behaviours; `fresh` is the subclass's fixture. `examples` of interleavings are tried."""

    examples = 10

    @pytest.fixture
    def fresh(self) -> Callable[[], SinkBackend]:
        """Return a function that makes an empty backend; each subclass overrides it."""
        raise NotImplementedError

    @pytest.fixture
    def backend(self, fresh: Callable[[], SinkBackend]) -> SinkBackend:
        """Make an empty backend."""
        return fresh()

    @pytest.fixture
    def log(self, backend: SinkBackend) -> RecordLog:
        """Return the records to write."""
        return RecordLog(backend.coordinates)

    def test_a_fresh_sink_holds_nothing(self, backend: SinkBackend) -> None:
        wanted = partitions(backend)
        assert backend.sink().positions(wanted) == dict.fromkeys(wanted)

    def test_rows_come_back_as_they_were_written(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        batch = log.batch({A: (0, 20), B: (0, 7)})
        opened(backend).write(batch)
        assert_holds(backend, batch)

    def test_positions_are_the_ends_of_what_was_written(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        batch = log.batch({A: (0, 20), B: (0, 7)})
        sink = opened(backend)
        sink.write(batch)
        assert sink.positions(partitions(backend)) == ends(batch)
        assert backend.sink().positions(partitions(backend)) == ends(batch)

    def test_batches_follow_each_other(self, backend: SinkBackend, log: RecordLog) -> None:
        sink = opened(backend)
        for first in range(0, 40, 10):
            sink.write(log.batch({A: (first, first + 10), B: (first, first + 10)}))
        everything = log.batch({A: (0, 40), B: (0, 40)})
        assert_holds(backend, everything)
        assert backend.sink().positions(partitions(backend)) == ends(everything)

    def test_a_batch_written_again_writes_nothing(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        batch = log.batch({A: (0, 10), B: (0, 10)})
        sink = opened(backend)
        sink.write(batch)
        sink.write(batch)
        opened(backend).write(batch)
        assert_holds(backend, batch)

    def test_of_an_overlapping_batch_only_the_rest_is_written(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        opened(backend).write(log.batch({A: (0, 10), B: (0, 4)}))
        everything = log.batch({A: (0, 21), B: (0, 13)})
        opened(backend).write(everything)
        assert_holds(backend, everything)

    def test_one_more_partition_may_join(self, backend: SinkBackend, log: RecordLog) -> None:
        sink = opened(backend, A)
        sink.write(log.batch({A: (0, 5)}))
        sink.positions(partitions(backend, [B]))
        sink.write(log.batch({A: (5, 9), B: (0, 4)}))
        assert_holds(backend, log.batch({A: (0, 9), B: (0, 4)}))

    def test_a_batch_beyond_a_gap_is_stale(self, backend: SinkBackend, log: RecordLog) -> None:
        sink = opened(backend)
        sink.write(log.batch({A: (0, 5)}))
        with pytest.raises(StalePosition):
            sink.write(log.batch({A: (6, 9)}))
        assert_holds(backend, log.batch({A: (0, 5)}))

    def test_uploads_may_end_in_any_order_and_are_committed_together(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        sink = opened(backend)
        parts = [{A: (0, 10), B: (0, 3)}, {A: (10, 12), B: (3, 9)}, {A: (12, 20)}]
        batches = [log.batch(part) for part in parts]
        prepared = [sink.prepare(batch) for batch in batches]
        for one in reversed(prepared):
            one.upload()
        sink.commit(prepared)
        everything = log.batch({A: (0, 20), B: (0, 9)})
        assert_holds(backend, everything)
        assert backend.sink().positions(partitions(backend)) == ends(everything)

    def test_what_is_uploaded_and_not_committed_is_not_there(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        crashed = opened(backend)
        crashed.prepare(log.batch({A: (0, 10)})).upload()
        crashed.prepare(log.batch({A: (10, 20)})).upload()
        wanted = partitions(backend)
        assert backend.sink().positions(wanted) == dict.fromkeys(wanted)
        opened(backend).write(everything := log.batch({A: (0, 25)}))
        assert_holds(backend, everything)

    def test_a_batch_whose_predecessor_was_not_committed_is_stale(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        sink = opened(backend)
        sink.write(log.batch({A: (0, 5), B: (0, 5)}))
        prepared = [sink.prepare(log.batch({A: (n, n + 5), B: (n, n + 5)})) for n in (5, 10)]
        for one in prepared:
            one.upload()
        with pytest.raises(StalePosition):
            sink.commit(prepared[1:])
        assert_holds(backend, log.batch({A: (0, 5), B: (0, 5)}))
        sink.positions(partitions(backend))
        sink.write(everything := log.batch({A: (0, 15), B: (0, 15)}))
        assert_holds(backend, everything)

    def test_a_batch_is_prepared_while_those_before_it_are_on_their_way(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        sink = opened(backend)
        first = sink.prepare(log.batch({A: (0, 5), B: (0, 2)}))
        first.upload()
        second = sink.prepare(log.batch({A: (5, 9), B: (2, 7)}))
        sink.commit([first])
        third = sink.prepare(log.batch({A: (9, 11)}))
        for one in (third, second):
            one.upload()
        sink.commit([second, third])
        assert_holds(backend, log.batch({A: (0, 11), B: (0, 7)}))

    def test_a_zombie_loses_all_that_it_has_uploaded(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        zombie, owner = opened(backend), opened(backend)
        late = [zombie.prepare(log.batch({A: (n, n + 5), B: (n, n + 5)})) for n in (0, 5)]
        for one in late:
            one.upload()
        owner.write(theirs := log.batch({A: (0, 7), B: (0, 7)}))
        with pytest.raises(StalePosition):
            zombie.commit(late)
        assert_holds(backend, theirs)
        assert backend.sink().positions(partitions(backend)) == ends(theirs)

    def test_a_release_leaves_nothing_of_these_partitions_to_settle(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        old, new = opened(backend), opened(backend)
        old.write(log.batch({A: (0, 5), B: (0, 5)}))
        old.settle()
        old.release(partitions(backend, [A]))
        new.positions(partitions(backend))
        new.write(log.batch({A: (5, 9)}))
        old.settle()
        old.write(log.batch({B: (5, 9)}))
        assert_holds(backend, log.batch({A: (0, 9), B: (0, 9)}))

    def test_a_zombie_is_stale_and_leaves_no_rows(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        zombie, owner = opened(backend), opened(backend)
        owner.write(log.batch({A: (0, 10)}))
        with pytest.raises(StalePosition):
            zombie.write(log.batch({A: (0, 7)}))
        assert_holds(backend, log.batch({A: (0, 10)}))

    def test_a_zombie_that_wrote_before_is_stale(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        zombie = opened(backend)
        zombie.write(log.batch({A: (0, 6)}))
        opened(backend).write(log.batch({A: (6, 12)}))
        with pytest.raises(StalePosition):
            zombie.write(log.batch({A: (6, 9)}))
        assert_holds(backend, log.batch({A: (0, 12)}))

    def test_a_write_to_another_partition_does_not_unfence_a_zombie(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        zombie, owner = opened(backend), opened(backend)
        owner.write(log.batch({A: (0, 10)}))
        zombie.write(log.batch({B: (0, 4)}))
        with pytest.raises(StalePosition):
            zombie.write(log.batch({A: (0, 10)}))
        assert_holds(backend, log.batch({A: (0, 10), B: (0, 4)}))

    def test_a_stale_sink_goes_on_after_it_read_the_positions(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        stale = opened(backend)
        opened(backend).write(log.batch({A: (0, 10)}))
        with pytest.raises(StalePosition):
            stale.write(log.batch({A: (0, 4), B: (0, 4)}))
        stale.positions(partitions(backend))
        stale.write(log.batch({A: (4, 16), B: (0, 4)}))
        assert_holds(backend, log.batch({A: (0, 16), B: (0, 4)}))

    def test_owners_of_different_partitions_do_not_disturb_each_other(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        one, two = opened(backend, A), opened(backend, B)
        for first in (0, 5, 10):
            one.write(log.batch({A: (first, first + 5)}))
            two.write(log.batch({B: (first, first + 5)}))
        assert_holds(backend, log.batch({A: (0, 15), B: (0, 15)}))

    def test_a_batch_without_rows_advances(self, backend: SinkBackend, log: RecordLog) -> None:
        nothing = log.without_rows({A: (0, 5), B: (0, 5)})
        with closing(opened(backend)) as sink:
            sink.write(nothing)
        assert backend.sink().positions(partitions(backend)) == ends(nothing)

    def test_rows_around_a_batch_without_rows_are_there_once(
        self, backend: SinkBackend, log: RecordLog
    ) -> None:
        sink = opened(backend)
        sink.write(log.batch({A: (0, 6)}))
        sink.write(log.without_rows({A: (6, 9)}))
        sink.write(log.batch({A: (9, 15)}))
        found = backend.rows().select(backend.coordinates.identity)
        kept = [backend.kept(log.batch({A: part})) for part in [(0, 6), (9, 15)]]
        wanted = pl.concat(kept).select(backend.coordinates.identity)
        assert_frame_equal(found, wanted, check_row_order=False)
        assert opened(backend).positions(partitions(backend, [A])) == ends(log.batch({A: (0, 15)}))

    def test_any_interleaving_of_two_consumers_writes_each_row_once(
        self, fresh: Callable[[], SinkBackend]
    ) -> None:
        @settings(max_examples=examples(self.examples), deadline=None)
        @given(_STEPS)
        def run(steps: list[Step]) -> None:
            backend = fresh()
            log = RecordLog(backend.coordinates)
            consumers = [Consumer(backend, log), Consumer(backend, log)]
            for index, step in steps:
                step(consumers[index])
            Consumer(backend, log).finish(_END)
            assert_holds(backend, log.batch({A: (0, _END), B: (0, _END)}))

        run()
