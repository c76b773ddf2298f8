"""Sequence numbers that are written with leading zeros: Kinesis gets them back as it gave them."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from consumers.kinesis.ends import End, ends_beyond
from consumers.kinesis.kpl import UserRecord
from consumers.kinesis.shard import to_frame
from core.batch import KINESIS, Batch, Partition, Position, Records
from core.errors import SourceError
from core.protocols import Sink
from sinks.delta import ledger, positions
from sinks.delta.sink import DeltaSink
from sinks.parquet.sink import ParquetSink
from sinks.storage.store import FolderStore
from tests.contracts.source_contract import Recorder, opened
from tests.support.aggregates import aggregate
from tests.support.batches import CLEAN_SCHEMA, delta_target
from tests.support.clock import ManualClock
from tests.support.fake_kinesis import STREAM, FakeClock, FakeKinesis
from tests.support.kinesis_reading import A, B, drain, everything, flat, of, source_of

WIDTH = 60
SHARD = of(A)


@pytest.fixture
def kinesis() -> FakeKinesis:
    return FakeKinesis(FakeClock(), shards=2, width=WIDTH)


def delta(folder: Path) -> Sink:
    target = delta_target(str(folder), dict, KINESIS, "clean")
    return DeltaSink("clean", target, FolderStore(folder), ManualClock())


def archive(folder: Path) -> Sink:
    return ParquetSink(FolderStore(folder), "raw", KINESIS, "archive")


def batch(records: Records) -> Batch:
    """All records as clean rows without content."""
    nothing = [pl.lit(None, dtype).alias(name) for name, dtype in CLEAN_SCHEMA.items()]
    rescued = pl.lit(None, pl.String()).alias("_rescued")
    clean = records.frame.select(*nothing, *KINESIS.metadata, rescued)
    return Batch(records.frame, clean, records.frame.clear(), records.spans, KINESIS)


@pytest.mark.parametrize("sink_at", [delta, archive])
def test_after_a_restart_the_sink_s_position_names_the_record_as_it_came(
    kinesis: FakeKinesis, tmp_path: Path, sink_at: Callable[[Path], Sink]
) -> None:
    kinesis.put(A, b"1", b"2")
    sink = sink_at(tmp_path)
    sink.positions([SHARD])
    for part in everything(kinesis, Recorder()):
        sink.write(batch(part))
    kinesis.put(A, b"3", b"4")
    held = sink_at(tmp_path).positions([SHARD])
    assert flat(everything(kinesis, Recorder(held))) == [b"3", b"4"]
    asked = kinesis.asked[A][-1]["StartingSequenceNumber"]
    assert asked == kinesis.shards[A].records[1]["SequenceNumber"]


def test_a_position_from_before_widths_were_kept_skips_nothing(kinesis: FakeKinesis) -> None:
    numbers = kinesis.put(A, b"1", b"2", b"3", b"4")
    assert flat(everything(kinesis, Recorder({SHARD: Position(numbers[1])}))) == [b"3", b"4"]


def test_verify_sees_what_is_unread_behind_such_a_position(kinesis: FakeKinesis) -> None:
    numbers = kinesis.put(A, b"1", b"2", b"3")
    kinesis.put(B, b"4")
    kinesis.clock.sleep(90)
    positions = {SHARD: Position(numbers[0])}
    ends = ends_beyond(kinesis.client, STREAM, positions, kinesis.clock.now(), kinesis.clock)
    assert ends == {SHARD: End(unread=2), of(B): End(unread=1)}


def test_an_iterator_is_renewed_with_the_number_as_it_came(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    with opened(source_of(kinesis), Recorder()) as source:
        assert flat(drain(source, 2)) == [b"1"]
        kinesis.put(A, b"2")
        kinesis.clock.sleep(400)
        assert flat(drain(source, 5)) == [b"2"]


def test_a_restart_within_an_aggregate_with_leading_zeros_reads_the_rest(
    kinesis: FakeKinesis,
) -> None:
    users = [UserRecord("k", b"%d" % n) for n in range(4)]
    kinesis.put(A, aggregate(users))
    (whole,) = everything(kinesis, Recorder())
    (number,) = {int(n) for n in whole.frame["_sequence"]}
    for held in (Position(number, 1, digits=WIDTH), Position(number, 1)):
        assert flat(everything(kinesis, Recorder({SHARD: held}))) == [b"2", b"3"]


def test_a_stream_may_mix_numbers_with_and_without_leading_zeros(kinesis: FakeKinesis) -> None:
    kinesis.put(A, b"1")
    kinesis.width = 0
    kinesis.put(A, b"2")
    ends = [part.spans[SHARD].end.digits for part in everything(kinesis, Recorder())]
    assert ends == [0]


@pytest.mark.parametrize(
    "number", ["9" * 65, "0" * 65, "", "12e3", "-5", " 7", "7\n", "\u0667", "ab-cd"]
)
def test_a_sequence_number_that_cannot_be_stored_is_named(number: str) -> None:
    record = {
        "SequenceNumber": number,
        "ApproximateArrivalTimestamp": FakeClock().now(),
        "Data": b"1",
        "PartitionKey": "k",
    }
    with pytest.raises(SourceError, match=rf"{STREAM}/{A}: the sequence number '.* 1 to 64 digits"):
        to_frame(SHARD, [record])


@given(st.integers(0, 10**64 - 1), st.integers(0, 2**31), st.integers(0, 64))
def test_the_width_comes_back_from_the_table_s_transactions(
    number: int, sub: int, digits: int
) -> None:
    partition, position = Partition("s", "shard-0"), Position(number, sub, digits=digits)
    held: dict[str, int] = {}
    for txn in positions.write(held.get, positions.app_id("app", partition), position, KINESIS, 0):
        assert 0 <= txn.version < 2**63
        held[txn.app_id] = txn.version
    found = positions.read(held.get, "app", partition, KINESIS)
    assert found is not None
    assert (found, found.digits) == (position, digits)


def test_a_ledger_entry_does_not_grow_by_the_width() -> None:
    r = ledger.CommitRange(
        source="s",
        partition="0",
        start=None,
        end=Position(7),
        read=1,
        clean=1,
        quarantined=0,
    )
    ranges = TypeAdapter(ledger.CommitRange)
    written = ranges.dump_json(r, by_alias=True)
    assert b"digits" not in written
    assert ranges.validate_json(written) == r
