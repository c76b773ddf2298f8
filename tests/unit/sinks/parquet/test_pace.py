"""The Parquet sink's own pace: what is held, when it is written, and what becomes of it."""

import json
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from core.batch import KAFKA, KINESIS, Batch, Coordinates, Partition, Position
from core.config import Config
from core.errors import SinkError, StalePosition, TransientError
from pinpip.pipelines import pace_of
from sinks.parquet.chain import KEY
from sinks.parquet.held import Pace
from sinks.parquet.sink import ParquetSink
from tests.support.batches import RecordLog
from tests.support.clock import ManualClock
from tests.support.memory_store import Crash, MemoryStore, once, unavailable

A, B = 0, 1
LOG = RecordLog(KAFKA)
P0, P1 = LOG.partition(A), LOG.partition(B)
MINUTE = Pace(60.0, 64 * 1024 * 1024)


class Writer:
    """A sink in a memory store, by a clock that stands still."""

    def __init__(
        self,
        pace: Pace = MINUTE,
        store: MemoryStore | None = None,
        coordinates: Coordinates = KAFKA,
    ) -> None:
        self.store = store or MemoryStore()
        self.clock = ManualClock()
        self.log = RecordLog(coordinates)
        self.sink = ParquetSink(self.store.store, "raw", coordinates, "archive", pace, self.clock)
        self.sink.positions([self.log.partition(i) for i in (A, B)])

    def write(self, *batches: Batch) -> None:
        for batch in batches:
            self.sink.write(batch)

    def next(self) -> "Writer":
        """Make the sink of another process."""
        return Writer(self.sink._held.pace, self.store, self.log.coordinates)

    def ends(self, *partitions: Partition) -> list[Position | None]:
        """Where a new process finds the chains' ends."""
        found = self.next().sink.positions(partitions or (P0, P1))
        return list(found.values())

    def about(self) -> list[dict[str, object]]:
        """Return what the objects say of themselves."""
        texts = [(self.store.metadata(key) or {})[KEY] for key in self.store.list("")]
        return [json.loads(text) for text in texts]

    def assert_holds(self, wanted: Batch) -> None:
        assert_frame_equal(self.store.rows(), wanted.raw, check_row_order=False)


# --- When objects are written


def test_a_thousand_records_a_second_make_one_object_a_minute_and_partition(
    tmp_path: Path,
) -> None:
    own = by_default(tmp_path)
    pipeline = own.pipelines["pin"]
    writer = Writer(pace_of(own, pipeline, pipeline.archives[0]))
    partitions = [Partition("demo.pin", str(n)) for n in range(4)]
    writer.sink.positions(partitions)
    value, minutes = b"x" * 740, 3
    for second in range(60 * minutes):
        spans = dict.fromkeys((0, 1, 2, 3), (250 * second, 250 * (second + 1)))
        writer.write(valued(spans, value))
        writer.clock.advance(1)
        if writer.sink.is_overdue:
            writer.sink.settle()
    assert len(writer.store.puts) == 4 * minutes
    writer.sink.close()
    assert writer.store.rows().height == 60 * minutes * 1000


def by_default(folder: Path) -> Config:
    """Configure an archive, and nothing of its pace."""
    pipeline = {
        "source": {"topics": ["demo.pin"]},
        "schema": "transforms.pin:SCHEMA",
        "transform": "transforms.pin:clean",
        "sinks": [{"delta": "pin"}, {"parquet": str(folder)}],
    }
    kafka = {"bootstrap.servers": "none.invalid:9092"}
    return Config.model_validate({"id": "demo", "kafka": kafka, "pipelines": {"pin": pipeline}})


def valued(parts: dict[int, tuple[int, int]], value: bytes) -> Batch:
    """Make a batch fast whose values are all the same."""
    rows = [
        pl.DataFrame({"_topic": "demo.pin", "_offset": range(i, j)}).with_columns(
            pl.lit(p, pl.Int32).alias("_partition"), pl.lit(value).alias("_value")
        )
        for p, (i, j) in parts.items()
    ]
    template = LOG.batch(dict.fromkeys(parts, (0, 1)))
    spans = {
        LOG.partition(p): replace(
            template.spans[LOG.partition(p)],
            start=Position(i) if i else None,
            end=Position(j),
            records=j - i,
        )
        for p, (i, j) in parts.items()
    }
    return replace(template, raw=pl.concat(rows), spans=spans)


def test_rows_are_written_together_once_one_is_old_enough() -> None:
    writer = Writer()
    writer.write(LOG.batch({A: (0, 5)}))
    writer.clock.advance(40)
    writer.write(LOG.batch({A: (5, 9), B: (0, 3)}))
    writer.clock.advance(19.9)
    writer.write(LOG.batch({B: (3, 4)}))
    assert not writer.store.puts
    assert not writer.sink.is_overdue
    writer.clock.advance(0.1)
    assert writer.sink.is_overdue
    writer.write(LOG.batch({A: (9, 10)}))
    assert [about["records"] for about in writer.about()] == [10, 4]
    assert not writer.sink.is_overdue
    writer.assert_holds(LOG.batch({A: (0, 10), B: (0, 4)}))


def test_rows_are_written_once_so_many_bytes_are_held() -> None:
    most = int(LOG.batch({A: (0, 30)}).raw.estimated_size())
    writer = Writer(Pace(60.0, most))
    writer.write(LOG.batch({A: (0, 20)}))
    assert not writer.store.puts
    writer.write(LOG.batch({A: (20, 40)}))
    assert len(writer.store.puts) == 1
    writer.write(LOG.batch({A: (40, 50)}))
    assert len(writer.store.puts) == 1


def test_each_batch_is_written_at_once_where_that_is_wanted() -> None:
    writer = Writer(Pace(0.0, 10**9))
    writer.write(LOG.batch({A: (0, 20)}), LOG.without_rows({A: (20, 22)}))
    assert [about["records"] for about in writer.about()] == [20, 0]


def test_a_flush_of_256_partitions_writes_those_that_have_rows() -> None:
    writer = Writer()
    partitions = [LOG.partition(n) for n in range(256)]
    writer.sink.positions(partitions)
    writer.write(LOG.batch(dict.fromkeys(range(0, 256, 2), (0, 2))))
    writer.clock.advance(30)
    writer.write(LOG.without_rows(dict.fromkeys(range(1, 256, 2), (0, 2))))
    writer.clock.advance(30)
    writer.sink.commit([])
    assert len(writer.store.puts) == 128
    writer.sink.close()
    assert len(writer.store.puts) == 256
    assert writer.ends(*partitions) == [Position(2)] * 256


# --- Records without rows


def test_an_end_without_rows_goes_with_the_next_rows() -> None:
    writer = Writer()
    writer.write(LOG.without_rows({A: (0, 7)}))
    writer.clock.advance(59)
    writer.write(LOG.batch({A: (7, 9)}))
    writer.clock.advance(1)
    writer.sink.commit([])
    assert [(a["start"], a["end"], a["records"]) for a in writer.about()] == [
        (f"{0:020d}", f"{9:020d}", 2)
    ]


def test_an_end_without_rows_is_stored_before_retention_can_reach_it() -> None:
    writer = Writer()
    writer.write(LOG.without_rows({A: (0, 7)}))
    writer.clock.advance(60)
    assert writer.sink.is_overdue
    writer.sink.commit([])
    assert writer.ends(P0) == [Position(7)]
    assert writer.store.rows().schema == LOG.batch({A: (0, 1)}).raw.schema


def test_full_memory_writes_no_empty_objects() -> None:
    writer = Writer(Pace(60.0, 1))
    writer.write(LOG.without_rows({B: (0, 7)}))
    writer.write(LOG.batch({A: (0, 2)}))
    assert [key.count("partition=0") for key in writer.store.puts] == [1]
    writer.sink.close()
    assert writer.ends() == [Position(2), Position(7)]


def test_an_accepted_gap_is_stored_at_once_and_alone() -> None:
    writer = Writer()
    writer.write(LOG.batch({A: (0, 5)}))
    first = LOG.after_gap(LOG.batch({A: (9, 12)}), A, 5)
    second = LOG.after_gap(LOG.batch({A: (20, 21)}), A, 12)
    taken = [writer.sink.prepare(batch) for batch in (first, second)]
    writer.sink.commit(taken)
    told = [(a["expired"], a["accepted"], a["records"]) for a in writer.about()]
    assert told == [(4, [5, 9], 8), (8, [12, 20], 1)]


# --- What a crash, a rewind and a rebalance leave


def test_what_is_held_when_the_process_dies_is_read_again() -> None:
    writer = Writer()
    writer.write(LOG.batch({A: (0, 9), B: (0, 4)}))
    assert writer.ends() == [None, None]
    after = writer.next()
    after.write(LOG.batch({A: (0, 11), B: (0, 4)}))
    after.sink.close()
    after.assert_holds(LOG.batch({A: (0, 11), B: (0, 4)}))


def test_a_crash_between_the_objects_of_two_partitions_loses_and_doubles_nothing() -> None:
    writer = Writer()
    writer.write(LOG.batch({A: (0, 9), B: (0, 4)}))
    writer.store.before = once(Crash(), "partition=1")
    with pytest.raises(Crash):
        writer.sink.settle()
    after = writer.next()
    assert after.ends() == [Position(9), None]
    after.write(LOG.batch({A: (0, 9), B: (0, 6)}))
    after.sink.close()
    after.assert_holds(LOG.batch({A: (0, 9), B: (0, 6)}))


def test_a_rewind_writes_what_is_held_so_that_it_is_not_read_again() -> None:
    writer = Writer()
    writer.write(LOG.batch({A: (0, 9), B: (0, 4)}))
    assert writer.sink.positions([P0, P1]) == {P0: Position(9), P1: Position(4)}
    writer.write(LOG.batch({A: (9, 10)}))
    assert writer.sink.positions([P1]) == {P1: Position(4)}
    assert len(writer.store.puts) == 2


def test_a_zombie_that_rewinds_gets_what_its_next_owner_wrote() -> None:
    writer = Writer()
    writer.write(LOG.batch({A: (0, 9), B: (0, 4)}))
    owner = writer.next()
    owner.write(LOG.batch({A: (0, 6)}))
    owner.sink.settle()
    assert writer.sink.positions([P0, P1]) == {P0: Position(6), P1: Position(4)}
    writer.write(LOG.batch({A: (6, 12)}))
    writer.sink.close()
    writer.assert_holds(LOG.batch({A: (0, 12), B: (0, 4)}))


def test_rows_that_a_zombie_lost_are_not_written_with_those_that_it_reads_again() -> None:
    writer = Writer()
    writer.write(LOG.batch({A: (0, 9), B: (0, 4)}))
    owner = writer.next()
    owner.write(LOG.batch({A: (0, 6)}))
    owner.sink.settle()
    assert writer.sink.positions([P0]) == {P0: Position(6)}  # what is held of B stays
    writer.write(LOG.batch({A: (6, 12)}))
    with suppress(SinkError):
        writer.sink.settle()
    writer.assert_holds(LOG.batch({A: (0, 12), B: (0, 4)}))


def test_a_zombie_is_stale_when_its_rows_are_written() -> None:
    writer = Writer()
    writer.write(LOG.batch({A: (0, 9), B: (0, 4)}))
    owner = writer.next()
    owner.write(LOG.batch({A: (0, 6)}))
    owner.sink.settle()
    with pytest.raises(StalePosition):
        writer.sink.settle()
    with pytest.raises(StalePosition):
        writer.write(LOG.batch({A: (9, 12)}))
    writer.sink.close()
    writer.assert_holds(LOG.batch({A: (0, 6), B: (0, 4)}))


def test_close_writes_the_partitions_that_are_still_ours() -> None:
    writer = Writer()
    writer.write(LOG.batch({A: (0, 9), B: (0, 4)}))
    owner = writer.next()
    owner.write(LOG.batch({A: (0, 6)}))
    owner.sink.settle()
    writer.store.before = once(unavailable(), "partition=1")
    writer.sink.close()
    writer.assert_holds(LOG.batch({A: (0, 6), B: (0, 4)}))


def test_what_is_held_of_a_partition_that_was_given_up_is_never_written() -> None:
    writer = Writer()
    late = writer.sink.prepare(LOG.batch({A: (0, 9), B: (0, 4)}))
    writer.sink.commit([late])
    later = writer.sink.prepare(LOG.batch({A: (9, 10), B: (4, 5)}))
    writer.sink.release([P0])
    writer.sink.commit([later])
    writer.sink.close()
    assert writer.ends() == [None, Position(5)]
    assert writer.sink.positions([P0]) == {P0: None}
    writer.write(LOG.batch({A: (0, 12)}))
    writer.sink.close()
    writer.assert_holds(LOG.batch({A: (0, 12), B: (0, 5)}))


def test_rows_that_do_not_follow_those_before_are_stale() -> None:
    writer = Writer()
    lost = writer.sink.prepare(LOG.batch({A: (0, 9)}))
    after = writer.sink.prepare(LOG.batch({A: (9, 12)}))
    with pytest.raises(StalePosition):
        writer.sink.commit([after])
    writer.sink.commit([lost, after])
    writer.sink.close()
    writer.assert_holds(LOG.batch({A: (0, 12)}))


# --- Faults of the store


def test_a_repeated_call_goes_on_with_what_is_not_written_yet() -> None:
    writer = Writer(Pace())
    writer.store.before = once(unavailable(), "partition=1")
    taken = writer.sink.prepare(LOG.batch({A: (0, 9), B: (0, 4)}))
    with pytest.raises(TransientError):
        writer.sink.commit([taken])
    writer.sink.commit([taken])
    assert Counter(key.split("/")[1] for key in writer.store.puts) == {
        "partition=0": 1,
        "partition=1": 2,
    }
    writer.assert_holds(LOG.batch({A: (0, 9), B: (0, 4)}))


def test_an_object_whose_answer_was_lost_is_ours_though_more_rows_came_meanwhile() -> None:
    writer = Writer(Pace(60.0, 1))
    writer.store.after = once(unavailable())
    with pytest.raises(TransientError):
        writer.write(LOG.batch({A: (0, 9)}))
    with suppress(StalePosition):
        writer.write(LOG.batch({A: (9, 12)}))
    assert [about["end"] for about in writer.about()] == [f"{9:020d}"]
    writer.sink.close()
    writer.assert_holds(LOG.batch({A: (0, 12)}))


def test_rows_of_an_object_that_was_removed_by_hand_are_archived_again_once() -> None:
    writer = Writer()
    writer.write(LOG.batch({A: (0, 9), B: (0, 4)}))
    writer.sink.positions([P0])
    writer.store.objects.clear()
    assert writer.sink.positions([P0]) == {P0: None}
    writer.write(LOG.batch({A: (0, 9)}))
    writer.sink.close()
    writer.assert_holds(LOG.batch({A: (0, 9), B: (0, 4)}))


# --- Memory


@pytest.mark.parametrize("coordinates", [KAFKA, KINESIS], ids=lambda c: c.kind)
def test_a_few_rows_of_a_large_frame_do_not_keep_it_in_memory(coordinates: Coordinates) -> None:
    writer = Writer(coordinates=coordinates)
    log = writer.log
    large = log.batch({A: (0, 2_000)})
    values = pl.col("_value").bin.encode("hex").str.pad_end(500, "x").cast(pl.Binary)
    large = replace(large, raw=large.raw.with_columns(values))
    owner = writer.next()
    owner.write(log.batch({A: (0, 1_990)}))
    owner.sink.settle()
    writer.sink.positions([log.partition(A)])
    rows = writer.sink.prepare(large).rows
    assert buffered(rows) < buffered(large.raw) / 50
    assert_frame_equal(rows, large.raw.tail(10))


def buffered(rows: pl.DataFrame) -> int:
    """Count the bytes of the buffers behind a frame."""
    newest = pl.CompatLevel.newest()
    return sum(column.to_arrow(compat_level=newest).get_total_buffer_size() for column in rows)
