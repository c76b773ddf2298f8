"""The Kafka source beyond the contract: groups, gaps, errors."""

import gc
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumers.kafka.client import settings
from consumers.kafka.messages import frame_of
from consumers.kafka.protocol import HEARTBEAT, requests_of
from consumers.kafka.reader import Reader
from consumers.kafka.source import KafkaSource
from core.batch import HEADERS, HEADERS_DTYPE, KAFKA, Partition, Position, Span
from core.errors import ConfigError, RecordsExpired, SourceError, TopicRecreated
from core.merge import merge
from core.protocols import Source
from pinpip.local.java import free_port
from tests.contracts.source_contract import (
    Recorder,
    ends,
    numbered,
    opened,
    ordered,
    poll_until,
    read,
    rows,
    values,
)
from tests.support.brokers import Broker
from tests.support.kafka_backend import KafkaBackend
from tests.support.processes import until
from tests.support.topics import committed
from tests.support.waiting import PATIENCE

real = pytest.mark.real_broker


@pytest.fixture
def backend(broker: Broker) -> KafkaBackend:
    """Create a topic on the best broker."""
    return KafkaBackend(broker)


def turn(sources: Collection[Source], done: Callable[[], bool]) -> None:
    """Poll all sources in turn until `done()`."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        for source in sources:
            source.poll(0.1)


def test_a_seek_is_compared_with_ends_that_were_requested_after_it(mock_broker: Broker) -> None:
    """Another member may write, and the topic grow, while the request before the seek is open."""
    topic = mock_broker.create_topic()
    partition = Partition(topic, "0")
    mock_broker.produce(topic, [b"{}"] * 40)
    reader = Reader(settings(mock_broker.properties, "reader", 0), headers=False, chunk=1000)
    try:
        reader.seek({partition: Position(0)})
        assert reader.begin(0) == {}  # no time to answer
        assert reader._request is not None
        assert reader._request.is_answered(PATIENCE)
        mock_broker.produce(topic, [b"{}"] * 40)
        reader.seek({partition: Position(20)})
        until(lambda: bool(reader.begin(1.0)), "the ends")
        assert reader.next == {partition: 20}
    finally:
        reader.close()


# --- groups


@real
def test_two_members_share_the_partitions(backend: KafkaBackend) -> None:
    first, second = Recorder(), Recorder()
    with opened(backend.source(), first) as one, opened(backend.source(), second) as two:
        turn([one, two], lambda: len(first.held) == len(second.held) == 2)
        assert first.held | second.held == set(backend.partitions)
        assert not first.held & second.held


@real
def test_partitions_that_move_are_announced_as_revoked(backend: KafkaBackend) -> None:
    first, second = Recorder(), Recorder()
    with opened(backend.source(), first) as one:
        turn([one], lambda: len(first.held) == 4)
        with opened(backend.source(), second) as two:
            turn([one, two], lambda: len(second.held) == 2)
            assert set(first.lost) == second.held
            one.seek(dict.fromkeys(first.lost))  # no longer its own: nothing happens
            one.acknowledge(dict.fromkeys(first.lost, Position(7)))
            assert one.poll(0.1) is None
        turn([one], lambda: len(first.held) == 4)
    assert committed(backend.broker.properties, backend.group, [backend.topic]) == {}


class Table(Recorder):
    """A listener that remembers how far it has stored, as a table does."""

    def __init__(self, stored: dict[Partition, Position]) -> None:
        super().__init__()
        self.stored = stored

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Start where the shared table is."""
        self.positions |= self.stored
        super().assigned(partitions)


@real
def test_members_that_come_and_go_read_each_record_once(backend: KafkaBackend) -> None:
    stored: dict[Partition, Position] = {}
    got: list[bytes | None] = []

    def store(source: KafkaSource) -> None:
        records = source.poll(0.1)
        if records is None:
            return
        for partition, span in records.spans.items():
            assert span.start == stored.get(partition)
            stored[partition] = span.end
        got.extend(values(records))

    deadline = time.monotonic() + PATIENCE
    with ExitStack() as members:
        group: list[KafkaSource] = []
        for since in range(0, 1200, 200):
            if len(group) == 2:
                group.pop(0).close()
            source = backend.source(chunk=17)
            table = Table(stored)
            table.starts(source)
            source.open(table)
            members.callback(source.close)
            group.append(source)
            backend.fill(numbered(200, since=since))
            while len(got) < since + 150:
                assert time.monotonic() < deadline
                for member in group:
                    store(member)
        while len(got) < 1200:
            assert time.monotonic() < deadline
            for member in group:
                store(member)
    assert ordered(got) == numbered(1200)


MEMBER = """
import json, sys
from consumers.kafka.source import KafkaSource
from tests.contracts.source_contract import Recorder
properties, topic, group = json.loads(sys.argv[1])
source, listener = KafkaSource(properties, [topic], group), Recorder()
listener.starts(source)
source.open(listener)
while True:
    source.poll(0.2)
    print(len(listener.held), flush=True)
"""


@real
def test_a_killed_members_partitions_come_to_the_survivor(backend: KafkaBackend) -> None:
    properties = backend.broker.properties | {"session.timeout.ms": 6000}
    arguments = json.dumps([properties, backend.topic, backend.group])
    survivor = KafkaSource(properties, [backend.topic], backend.group)
    listener = Recorder()
    child = subprocess.Popen([sys.executable, "-c", MEMBER, arguments], stdout=subprocess.PIPE)
    with child, opened(survivor, listener):
        try:
            turn([survivor], lambda: len(listener.held) == 2)
        finally:
            child.send_signal(signal.SIGKILL)
        turn([survivor], lambda: len(listener.held) == 4)


@real
@pytest.mark.parametrize("count", [1, 2])
def test_the_next_generation_group_protocol_works_too(backend: KafkaBackend, count: int) -> None:
    if HEARTBEAT not in requests_of(backend.broker.bootstrap, {}):
        pytest.skip("this broker does not know the new group protocol")
    properties = backend.broker.properties | {"group.protocol": "consumer"}
    backend.fill(numbered(100))
    with ExitStack() as members:
        sources = [KafkaSource(properties, [backend.topic], backend.group) for _ in range(count)]
        listeners = [Recorder() for _ in sources]
        for source, listener in zip(sources, listeners, strict=True):
            members.enter_context(opened(source, listener))
        if count == 1:
            assert ordered(values(read(sources[0], 100))) == numbered(100)
        turn(sources, lambda: [len(one.held) for one in listeners] == [4 // count] * count)


@real
def test_an_acknowledgement_reaches_the_group(backend: KafkaBackend) -> None:
    backend.fill(numbered(40))
    with opened(backend.source(), Recorder()) as source:
        wanted = ends(read(source, 40))
        source.acknowledge(wanted)
    assert committed(backend.broker.properties, backend.group, [backend.topic]) == wanted


# --- seeking


@real
def test_any_number_of_seeks_reads_from_the_last_one(backend: KafkaBackend) -> None:
    backend.fill(numbered(2000))
    with opened(backend.source(chunk=50), Recorder()) as source:
        poll_until(source, lambda parts: rows(parts) >= 200)
        for offset in (400, 3, 250, 10, 499, 120):
            where = {p: Position(offset) for p in backend.partitions}
            source.seek(where)
            parts = poll_until(source, lambda parts: rows(parts) >= 4)
            assert all(span.start == Position(offset) for span in parts[0].spans.values())
            assert parts[0].frame.group_by("_partition").first()["_offset"].unique().to_list() == [
                offset
            ]
        source.seek(dict.fromkeys(backend.partitions))
        assert ordered(values(read(source, 2000))) == numbered(2000)


@real
def test_a_seek_right_after_the_assignment_is_obeyed(backend: KafkaBackend) -> None:
    backend.fill(numbered(400))
    listener = Recorder()
    with opened(backend.source(), listener) as source:
        while not listener.held:
            source.poll(0.0)
        source.seek({p: Position(90) for p in listener.held})
        got = read(source, 40)
    assert got.frame["_offset"].min() == 90
    assert got.frame.height == 40


@real
def test_a_closed_source_leaves_no_client_of_its_own_behind(broker: Broker) -> None:
    topic = broker.create_topic()
    broker.produce(topic, [b"one"])
    before = client_threads()
    gc.disable()
    try:
        with opened(KafkaSource(broker.properties, [topic], topic), Recorder()) as source:
            read(source, 1)
            assert client_threads() > before
        assert client_threads() == before
    finally:
        gc.enable()


def client_threads() -> int:
    """How many threads of this process librdkafka runs."""
    names = (task / "comm" for task in Path("/proc/self/task").iterdir())
    return sum(name.read_text(encoding="utf-8").startswith("rdk:") for name in names)


def test_a_seek_of_a_partition_that_is_not_ours_is_ignored(backend: KafkaBackend) -> None:
    backend.fill(numbered(4))
    with opened(backend.source(), Recorder()) as source:
        read(source, 4)
        source.seek({Partition("elsewhere", "0"): Position(3)})
        assert source.poll(0.2) is None


# --- gaps and ends


@real
def test_a_position_that_retention_has_passed_stops_with_both_offsets(
    backend: KafkaBackend,
) -> None:
    backend.fill(numbered(80))
    admin = AdminClient(backend.broker.properties)
    [deleted] = admin.delete_records([TopicPartition(backend.topic, 1, 15)]).values()
    deleted.result(30)
    with (
        opened(backend.source(), Recorder({backend.partitions[1]: Position(4)})) as source,
        pytest.raises(RecordsExpired, match=rf"{backend.topic}/1 .* 15, but offset 4 "),
    ):
        poll_until(source, lambda _: False)


@real
def test_retention_that_overtakes_a_reader_stops_it(backend: KafkaBackend) -> None:
    backend.fill(numbered(400))
    with opened(backend.source(chunk=20), Recorder()) as source:
        read(source, 400)
        admin = AdminClient(backend.broker.properties)
        [deleted] = admin.delete_records([TopicPartition(backend.topic, 0, 50)]).values()
        deleted.result(30)
        source.seek({backend.partitions[0]: Position(10)})
        with pytest.raises(RecordsExpired, match="offset 10 is still wanted"):
            poll_until(source, lambda _: False)


def test_a_position_beyond_the_end_is_never_read_from(mock_broker: Broker) -> None:
    backend = KafkaBackend(mock_broker)
    backend.fill(numbered(8))
    with (
        opened(backend.source(), Recorder({backend.partitions[0]: Position(99)})) as source,
        pytest.raises(TopicRecreated, match=r"ends at offset 2, .* at 99: .* re-created"),
    ):
        poll_until(source, lambda _: False)


@real
def test_latest_begins_at_the_end_and_says_so_before_any_record(backend: KafkaBackend) -> None:
    backend.fill(numbered(40))
    with opened(backend.source(start="latest"), Recorder()) as source:
        spans: dict[Partition, Span] = {}
        while len(spans) < 4:
            records = source.poll(0.2)
            spans |= records.spans if records else {}
        assert set(spans.values()) == {Span(None, Position(10), 0)}
        backend.fill(numbered(4, since=40))
        assert ordered(values(read(source, 4))) == numbered(4, since=40)


def transaction(broker: Broker, topic: str, found: list[bytes], *, commit: bool) -> None:
    """Store `found` in partition 0 in one transaction."""
    producer = Producer(broker.properties | {"transactional.id": f"{topic}-{commit}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in found:
        producer.produce(topic, value, partition=0)
    producer.flush(30)
    (producer.commit_transaction if commit else producer.abort_transaction)(30)


@real
def test_aborted_records_never_appear_and_markers_move_the_position(backend: KafkaBackend) -> None:
    transaction(backend.broker, backend.topic, numbered(5), commit=True)
    transaction(backend.broker, backend.topic, numbered(5, since=5), commit=False)
    first = backend.partitions[0]
    end = Position(12)  # with both markers: the broker writes them in its own time
    with opened(backend.source(), Recorder()) as source:
        parts = poll_until(source, lambda parts: bool(parts) and ends(merge(parts))[first] == end)
    got = merge(parts)
    assert values(got) == numbered(5)
    assert got.spans[first] == Span(None, end, 5)


@real
def test_a_topic_that_appears_later_is_picked_up(broker: Broker) -> None:
    topic = f"late{time.monotonic_ns()}"
    with opened(KafkaSource(broker.properties, [topic], topic), Recorder()) as source:
        source.poll(0.5)
        admin = AdminClient(broker.properties)
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(30)
        broker.produce(topic, numbered(10))
        assert ordered(values(read(source, 10))) == numbered(10)


# --- errors


def test_an_unreachable_broker_is_named_within_its_time() -> None:
    address = f"127.0.0.1:{free_port()}"
    source = KafkaSource({"bootstrap.servers": address}, ["t"], "g")
    started = time.monotonic()
    with pytest.raises(SourceError, match=address) as caught:
        source.open(Recorder())
    assert caught.value.hint
    assert time.monotonic() - started < 13


def test_a_property_that_librdkafka_does_not_know_is_named(mock_broker: Broker) -> None:
    source = KafkaSource(mock_broker.properties | {"fetch.max.bites": 1}, ["t"], "g")
    with pytest.raises(ConfigError, match=r"fetch\.max\.bites"):
        source.open(Recorder())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enable.auto.commit", True),
        ("auto.offset.reset", "latest"),
        ("isolation.level", "read_uncommitted"),
    ],
)
def test_a_property_that_would_break_exactly_once_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        settings({name: value}, "g", 0)


def test_other_properties_pass_through_and_the_queue_is_bounded() -> None:
    made = settings({"security.protocol": "SASL_SSL", "fetch.wait.max.ms": 7}, "g", 32 << 20)
    assert made["security.protocol"] == "SASL_SSL"
    assert made["fetch.wait.max.ms"] == 7
    assert made["queued.max.messages.kbytes"] == 2 * 1024
    assert made["fetch.max.bytes"] == 512 * 1024  # it may be exceeded by a response, compressed
    assert settings({}, "g", 8 << 30)["queued.max.messages.kbytes"] == 16 * 1024


# --- columns


def messages(source_values: Sequence[tuple[bytes | None, bytes | None]]) -> list[Message]:
    """Messages as the client would hand them over."""
    return [
        Message(
            topic="t",
            partition=2,
            offset=n,
            key=key,
            value=value,
            timestamp=(1, 1_700_000_000_123 + n),
            headers=[("h", b"1"), ("e", None)] if n % 2 else None,
        )
        for n, (key, value) in enumerate(source_values)
    ]


def test_keys_are_text_or_hex_or_null() -> None:
    frame = frame_of(messages([(b"abc", b""), (b"\xff\x00", b""), (None, b"")]), headers=False)
    assert frame["_key"].to_list() == ["abc", "0xff00", None]
    assert frame_of(messages([("é".encode(), None)]), headers=False)["_key"].to_list() == ["é"]


def test_columns_are_those_of_the_coordinates_and_headers_come_only_when_wanted() -> None:
    made = messages([(b"a", b"1"), (b"b", None)])
    assert frame_of(made, headers=False).columns == [*KAFKA.metadata, "_value"]
    frame = frame_of(made, headers=True)
    assert frame.schema[HEADERS] == HEADERS_DTYPE
    assert frame[HEADERS].to_list() == [
        [],
        [{"key": "h", "value": b"1"}, {"key": "e", "value": None}],
    ]
    assert frame["_timestamp"][0] == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert frame["_value"].to_list() == [b"1", None]


def test_no_messages_make_an_empty_frame_of_the_same_schema() -> None:
    empty, full = (frame_of(messages(v), headers=True) for v in ([], [(b"k", b"v")]))
    assert empty.schema == full.schema
    assert isinstance(empty, pl.DataFrame)
    assert empty.is_empty()
