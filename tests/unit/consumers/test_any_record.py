"""Nothing that a producer sets stops a pipeline: any message becomes one row of a table."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.archive import Archive
from audit.verify import verify
from consumers.kafka.messages import UNREADABLE, frame_of, ranges
from consumers.kafka.source import KafkaSource
from consumers.kinesis.kpl import UserRecord
from consumers.kinesis.shard import to_frame
from core.batch import (
    HEADERS,
    KAFKA,
    KINESIS,
    Partition,
    Position,
    Records,
    Span,
)
from core.clock import SystemClock
from sinks.delta.sink import DeltaSink
from sinks.delta.target import DeltaTarget, Tables
from sinks.parquet.sink import ParquetSink
from sinks.storage.store import FolderStore
from tests.contracts.source_contract import Recorder, opened, read
from tests.support.aggregates import aggregate, sealed
from tests.support.brokers import Broker
from tests.support.examples import examples
from tests.support.payloads import DUMPS, PAYLOADS
from tests.support.raw_produce import Raw, produce_raw
from transforms import geo, pin, user
from transforms.process import processor

ROOMS = st.sampled_from([pin, geo, user])
LAST = datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)
INT64 = st.integers(-(2**63), 2**63 - 1)
EDGES = st.sampled_from(
    [
        *[-(2**63), -1, 0, 1, 1_795_691_920_554, 1_795_691_920_554_868, 1_795_691_920_554_868_000],
        *[253_402_300_799_999, 253_402_300_800_000, 2**53, 2**63 - 1],
    ]
)
MOMENTS = st.sampled_from(
    [
        *["0001-01-01", "0000-12-31", "9999-12-31T23:59:59.999999999", "10000-01-01", "-001-01-01"],
        *[
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00",
            "2018-02-30",
            "2018-03-26 16:56:17",
        ],
    ]
)
WIRE = {
    **{name: st.integers(-(2**70), 2**70) | st.floats() | st.text() for name in ("index", "ind")},
    **{name: MOMENTS | st.text() for name in ("timestamp", "date_joined")},
    **{name: st.floats() | st.integers() for name in ("latitude", "longitude")},
    **{name: st.text() | st.integers() for name in ("age", "follower_count", "title", "country")},
}
EVENTS = st.fixed_dictionaries({}, optional=WIRE).map(
    lambda event: json.dumps(event).encode("utf-8", "surrogatepass")
)
VALUES = EVENTS | DUMPS | PAYLOADS
TEXT = st.text(max_size=5)
SENT = st.tuples(
    st.none() | st.binary(max_size=12) | TEXT.map(str.encode),
    VALUES,
    INT64 | EDGES,
    st.lists(st.tuples(TEXT, st.none() | st.binary(max_size=6)), max_size=3),
)


class Undecodable(Message):
    """A message with a header whose key the client cannot decode."""

    def headers(self) -> Any:
        raise SystemError("returned a result with an exception set")


def message(offset: int, sent: tuple[Any, ...], kind: type[Message] = Message) -> Message:
    """As the client hands it over."""
    key, value, time, headers = sent
    return kind(
        topic="t",
        partition=0,
        offset=offset,
        key=key,
        value=value,
        timestamp=(1, time),
        headers=headers or None,
    )


def committed(records: Records, room: Any, root: Path) -> tuple[int, int]:
    """Write the records by the whole path, verify, and count clean and quarantined rows."""
    process = processor(room.SCHEMA, room.clean, records.coordinates, keep_values=True)
    batch = process(records)
    partitions = list(records.spans)
    uris = [str(root / stage) for stage in ("clean", "rejected")]
    clean = DeltaTarget(uris[0], dict, batch.clean.schema, records.coordinates, "pinpip/any/1")
    rejected = replace(clean, uri=uris[1], schema=batch.rejected.schema, stage="rejected")
    chain = FolderStore(root / "archive")
    for sink in (
        DeltaSink("clean", clean, FolderStore(root / "clean"), SystemClock()),
        DeltaSink("rejected", rejected, FolderStore(root / "rejected"), SystemClock()),
        ParquetSink(chain, "raw", records.coordinates, "archive"),
    ):
        sink.positions(partitions)
        sink.write(batch)
        sink.close()
    tables = Tables(uris[0], uris[1], dict, records.coordinates, "pinpip/any/1")
    report = verify(tables, [Archive(chain, "raw", records.coordinates)])
    assert report.findings == ()
    [tally] = report.tallies
    return tally.clean, tally.quarantined


def through(records: Records, room: Any) -> tuple[int, int]:
    """As `committed`, in a new lake."""
    with tempfile.TemporaryDirectory() as root:
        return committed(records, room, Path(root))


def kafka_records(messages: Sequence[Message]) -> Records:
    """As the Kafka reader makes them."""
    frame = frame_of(messages, headers=True)
    spans = {
        partition: Span(None, Position(found.end), found.records)
        for partition, found in ranges(frame).items()
    }
    return Records(frame, spans, KAFKA)


@given(room=ROOMS, sent=st.lists(SENT, min_size=1, max_size=8))
@settings(max_examples=examples(50), deadline=None)
def test_any_kafka_message_ends_as_one_row(room: Any, sent: list[tuple[Any, ...]]) -> None:
    messages = [message(offset, own) for offset, own in enumerate(sent)]
    assert sum(through(kafka_records(messages), room)) == len(sent)


@pytest.mark.parametrize(
    "time", [2**63 - 1, 10**18, 1_795_691_920_554_868, 253_402_300_800_000, -1]
)
def test_a_time_outside_the_years_to_9999_is_null(time: int) -> None:
    frame = frame_of([message(0, (b"k", b"v", time, []))], headers=False)
    assert frame["_timestamp"].to_list() == [None]


def test_the_last_moment_of_the_year_9999_is_a_time() -> None:
    frame = frame_of([message(0, (b"k", b"v", 253_402_300_799_999, []))], headers=False)
    assert frame["_timestamp"].to_list() == [LAST]


def test_headers_that_cannot_be_read_are_marked_and_their_neighbours_kept() -> None:
    sent = (b"k", b"{}", 0, [("a", b"1")])
    made = [message(0, sent), message(1, sent, Undecodable), message(2, sent)]
    kept = [{"key": "a", "value": b"1"}]
    found = frame_of(made, headers=True)[HEADERS].to_list()
    assert found == [kept, [{"key": UNREADABLE, "value": None}], kept]
    assert sum(through(kafka_records(made), pin)) == len(made)


# --- Kinesis

USERS = st.builds(UserRecord, TEXT, VALUES.map(lambda value: value or b""))
KEYS = TEXT | st.just("a\ud800")  # JSON can spell half of a surrogate pair
DATA = st.one_of(
    VALUES.map(lambda value: value or b""),
    st.lists(USERS, min_size=1, max_size=3).map(aggregate),
    st.binary(max_size=24).map(sealed),
)


@given(room=ROOMS, data=st.lists(st.tuples(DATA, KEYS), min_size=1, max_size=6))
@settings(max_examples=examples(25), deadline=None)
def test_any_kinesis_record_ends_as_its_rows(room: Any, data: list[tuple[bytes, str]]) -> None:
    records = kinesis_records(data)
    assert sum(through(records, room)) == records.frame.height


def test_a_kinesis_record_without_a_time_of_arrival_is_a_row() -> None:
    record = {"SequenceNumber": "1", "Data": b"{}", "PartitionKey": "k"}
    frame = to_frame(Partition("s", "shardId-000000000000"), [record])
    assert frame["_timestamp"].to_list() == [None]


def kinesis_records(data: Sequence[tuple[bytes, str]]) -> Records:
    """As the shard reader makes them."""
    partition = Partition("s", "shardId-000000000000")
    answered = [
        {
            "SequenceNumber": str(10**55 + n),
            "Data": value,
            "PartitionKey": key,
            "ApproximateArrivalTimestamp": datetime(2026, 1, 1, tzinfo=UTC),
        }
        for n, (value, key) in enumerate(data)
    ]
    frame = to_frame(partition, answered)
    end = Position(10**55 + len(data) - 1, 2**31)
    return Records(frame, {partition: Span(None, end, frame.height)}, KINESIS)


# --- what no client library sends


@pytest.mark.real_broker
def test_what_no_client_library_sends_is_read_from_a_real_broker(broker: Broker) -> None:
    topic = broker.create_topic(1, message_timestamp_after_max_ms=str(2**63 - 1))
    times = [1_795_691_920_554, 1_795_691_920_554_868, 1_795_691_920_554_868_000]
    sent = [Raw(b"%d" % n, [(b"a", b"1")], time) for n, time in enumerate(times)]
    unreadable = Raw(b"3", [(b"tr\xffce", b"1")], times[0])
    produce_raw(broker.bootstrap, topic, [*sent, *[unreadable] * 100])
    source = KafkaSource(broker.consumer_properties, [topic], topic, want_headers=True)
    with opened(source, Recorder()):
        frame = read(source, 103).frame
    assert frame["_timestamp"].is_null().to_list() == [False, True, True, *[False] * 100]
    assert [own[0]["key"] for own in frame[HEADERS]] == [*"aaa", *[UNREADABLE] * 100]
