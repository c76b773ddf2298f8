"""Where a pipeline begins to read is fixed once: at its first start, for all partitions."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from hypothesis import given
from hypothesis import strategies as st

from core.batch import KAFKA, KINESIS, Position
from core.clock import SystemClock
from core.errors import RecordsExpired, StalePosition, TopicRecreated, TransientError
from core.origins import Begin, Start, belongs, pinned
from core.topic_id import Known
from sinks.delta.sink import DeltaSink
from sinks.storage.store import FolderStore
from tests.contracts.source_contract import Recorder, opened
from tests.support.archives import archived, change_pipeline, kept
from tests.support.batches import RecordLog, begin, delta_target
from tests.support.brokers import Broker
from tests.support.commits import before_the_next_commit
from tests.support.consuming import consume
from tests.support.fake_kinesis import FakeClock, FakeKinesis
from tests.support.kafka_backend import KafkaBackend
from tests.support.kinesis_reading import A, drain, flat, of, source_of
from tests.support.member import P0, P1, Member, fill, offsets
from tests.support.memory import MemoryBroker, MemoryTable
from tests.support.processes import Home, kafka_home, payloads, until, version
from tests.support.topics import recreate

real = pytest.mark.real_broker
LOG = RecordLog(KAFKA)
EPOCH = 2**61 + 1
P_0 = LOG.partition(0)


def start(*begins: Begin, epoch: int | None = None) -> Start:
    """Return the start of a topic with these partitions."""
    return Start({LOG.partition(n): own for n, own in enumerate(begins)}, epoch)


# --- What is fixed


ends = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(lambda t: (min(t), max(t)))


@given(found=st.lists(ends, min_size=1, max_size=4), latest=st.booleans(), data=st.data())
def test_every_partition_gets_a_first_offset_and_none_that_is_read_moves(
    found: list[tuple[int, int]], *, latest: bool, data: st.DataObject
) -> None:
    own = start(*(begin(low, end, latest=latest) for low, end in found))
    at = st.none() | st.integers(0, 9).map(Position)
    held = {p: data.draw(at) for p in own.begins}
    pins = pinned(own, held)
    assert pins.firsts.keys() == own.begins.keys()
    assert pins.positions.keys() == {p for p, position in held.items() if position is None}
    begun = any(held.values())
    for p, (low, end) in zip(own.begins, found, strict=True):
        position = held[p]
        if position is not None:
            assert pins.firsts[p] == min(position, Position(low))
        elif latest and not begun:
            assert pins.firsts[p] == Position(end)
        else:
            assert pins.firsts[p] == Position(0 if latest else low)


def test_a_position_of_another_life_or_beyond_the_end_does_not_belong() -> None:
    own = begin(0, 9)
    assert belongs(None, EPOCH, own)
    assert belongs(Position(9, epoch=EPOCH), EPOCH, own)
    assert not belongs(Position(9, epoch=EPOCH), EPOCH + 1, own)
    assert not belongs(Position(10), None, own)


# --- In the table


def sink(where: Path, **target: Any) -> DeltaSink:
    """Make a writer of the clean table that has read nothing yet."""
    own = replace(delta_target(str(where), dict, KAFKA, "clean"), **target)
    return DeltaSink("clean", own, FolderStore(where), SystemClock())


def origins(where: Path, *numbers: int) -> list[int | None]:
    """Where these partitions began, as a new reader finds it."""
    own, partitions = sink(where), [LOG.partition(n) for n in numbers]
    own.positions(partitions)
    found = own.origins(partitions)
    return [found[p].number if p in found else None for p in partitions]


def test_one_commit_fixes_all_partitions_and_those_of_later_begin_at_their_first_record(
    tmp_path: Path,
) -> None:
    own = sink(tmp_path)
    own.positions([P_0])
    own.pin({LOG.source: start(*[begin(n, 9) for n in range(600)], epoch=EPOCH)})
    assert version(str(tmp_path)) == 1
    assert origins(tmp_path, 0, 7, 599, 600) == [0, 7, 599, 0]
    again = sink(tmp_path)
    found = again.positions([P_0, LOG.partition(7)])
    assert found == {P_0: Position(0), LOG.partition(7): Position(7)}
    assert {at.epoch for at in found.values() if at} == {EPOCH}
    assert again.origins([LOG.partition(600)])[LOG.partition(600)].epoch == EPOCH


def test_of_two_members_that_start_at_once_one_fixes_and_the_other_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = sink(tmp_path), sink(tmp_path)
    one.positions([P_0])
    other.positions([LOG.partition(1)])
    own = {LOG.source: start(begin(0, 5, latest=True), begin(0, 6, latest=True))}
    before_the_next_commit(monkeypatch, lambda: other.pin(own))
    with pytest.raises(StalePosition, match="another member"):
        one.pin({LOG.source: start(begin(0, 8, latest=True), begin(0, 8, latest=True))})
    assert origins(tmp_path, 0, 1) == [5, 6]
    one.positions([P_0])
    one.write(LOG.batch({0: (5, 9)}))
    assert sink(tmp_path).positions([P_0]) == {P_0: Position(9)}


def test_a_table_of_before_is_pinned_beside_its_positions(tmp_path: Path) -> None:
    old = sink(tmp_path)
    old.positions([P_0])
    old.write(LOG.batch({0: (0, 9)}))
    sink(tmp_path).pin({LOG.source: start(*[begin(3, 20, latest=True)] * 2)})
    assert sink(tmp_path).positions([P_0, LOG.partition(1)]) == {
        P_0: Position(9),
        LOG.partition(1): Position(0),
    }
    assert origins(tmp_path, 0, 1) == [3, 0]


def test_a_topic_of_another_life_is_pinned_for_a_new_incarnation_only(tmp_path: Path) -> None:
    sink(tmp_path).pin({LOG.source: start(begin(0, 9), epoch=EPOCH)})
    another = {LOG.source: start(begin(0, 9), epoch=EPOCH + 1)}
    with pytest.raises(TopicRecreated):
        sink(tmp_path).pin(another)
    new = sink(tmp_path, app="pinpip/pin/2", begins=True)
    new.positions([P_0])
    new.pin(another)
    going_on = sink(tmp_path, app="pinpip/pin/2")
    assert going_on.positions([P_0]) == {P_0: Position(0)}
    assert version(str(tmp_path)) == 2


# --- In the loop


@pytest.mark.parametrize("latest", [False, True])
def test_members_that_start_together_read_from_where_the_first_one_began(*, latest: bool) -> None:
    broker, tables = MemoryBroker(), [MemoryTable(), MemoryTable()]
    fill(broker, P0, 4)
    fill(broker, P1, 4)
    members = [Member(broker, tables), Member(broker, tables)]
    for member, partition in zip(members, (P0, P1), strict=True):
        member.source.pins, member.source.latest = True, latest
        member.takes(partition)
    members[0].turn()
    fill(broker, P1, 6)
    for member in members:
        member.turn(4)
        member.executor.run()
        member.loop.finish()
    first = 4 if latest else 0
    assert offsets(tables[0], P0) == list(range(first, 4))
    assert offsets(tables[0], P1) == list(range(first, 10))


def test_a_source_that_cannot_tell_its_ends_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broker, tables = MemoryBroker(), [MemoryTable(), MemoryTable()]
    fill(broker, P0, 6)
    member = Member(broker, tables)
    member.source.pins = True
    told, faults = member.source.starts, [TransientError("no broker")] * 2

    def starts(sources: Any) -> Any:
        if faults:
            raise faults.pop()
        return told(sources)

    monkeypatch.setattr(member.source, "starts", starts)
    member.takes(P0)
    member.turn(6)
    member.executor.run()
    assert not faults
    assert offsets(tables[0], P0) == [0, 1, 2, 3, 4, 5]


# --- On Kafka


def silent(_: AdminClient, topics: Any, **__: Any) -> dict[str, "Future[Any]"]:
    """Behave as a broker that does not return the topics' ids in time."""
    late: Future[Any] = Future()
    late.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
    return dict.fromkeys(topics.topic_names, late)


@real
def test_nothing_is_fixed_before_the_brokers_tell_which_life_of_the_topic_it_is(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = KafkaBackend(broker)
    with opened(backend.source(), Recorder()) as source:
        with monkeypatch.context() as patched:
            patched.setattr(AdminClient, "describe_topics", silent)
            with pytest.raises(TransientError, match=f"id of topic {backend.topic} cannot"):
                source.starts([backend.topic])
        assert source.starts([backend.topic])[backend.topic].epoch is not None


@real
def test_the_first_commit_holds_the_topics_id_though_the_broker_tells_it_late(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, payloads(100))
    home = archived(tmp_path, broker, topic)
    describe = AdminClient.describe_topics

    def slow(*arguments: Any, **named: Any) -> dict[str, "Future[Any]"]:
        [answer] = describe(*arguments, **named).values()
        late: Future[Any] = Future()
        answer.add_done_callback(lambda told: Timer(2.2, late.set_result, [told.result()]).start())
        return {topic: late}

    monkeypatch.setattr(AdminClient, "describe_topics", slow)
    consume(home, lambda: home.rows() == 100 == kept(home))
    monkeypatch.undo()
    recreate(broker, topic, payloads(400, since=1000))
    shutil.rmtree(tmp_path / "lake")
    with pytest.raises(TopicRecreated):
        consume(home, lambda: False)


def grow(broker: Broker, topic: str, partitions: int) -> None:
    """Add partitions to the topic."""
    admin = AdminClient(broker.properties)
    admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(30)

    def seen() -> bool:
        return len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == partitions

    until(seen, "the partitions")


def expire(broker: Broker, topic: str, partition: int, before: int) -> None:
    """Delete the records before an offset."""
    admin = AdminClient(broker.properties)
    [gone] = admin.delete_records([TopicPartition(topic, partition, before)]).values()
    gone.result(30)


def pinned_at(home: Home) -> Callable[[], bool]:
    """Whether the table exists with the commit that fixes where the pipeline began."""
    return (home.folder / "lake/user/_delta_log" / f"{1:020d}.json").exists


@real
@pytest.mark.parametrize("running", [True, False])
def test_latest_holds_for_the_partitions_of_the_first_start_alone(
    broker: Broker, tmp_path: Path, *, running: bool
) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, payloads(20))
    home = kafka_home(tmp_path, broker, topic, topic_metadata_refresh_interval_ms="300")
    change_pipeline(home, source={"topics": [topic], "start": "latest"})

    def more() -> None:
        grow(broker, topic, 3)
        for partition in range(3):
            broker.produce(topic, payloads(4, since=100 + 10 * partition), partition=partition)

    added: list[bool] = []

    def done() -> bool:
        if running and not added and pinned_at(home)():
            added.append(True)
            more()
        return home.rows() == 12

    if not running:
        consume(home, pinned_at(home))
        more()
    consume(home, done)
    numbers = home.table()["ind"].to_list() + [100, 110, 120][: 12 - home.table().height]
    assert all(n >= 100 for n in numbers)
    assert home.verify("--grace", "0")["findings"] == []


@real
def test_records_that_expire_in_a_partition_that_had_none_are_a_gap(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic(2)
    broker.produce(topic, payloads(10), partition=0)
    home = kafka_home(tmp_path, broker, topic)
    consume(home, lambda: home.rows() == 10)
    broker.produce(topic, payloads(10, since=100), partition=1)
    expire(broker, topic, 1, 6)
    with pytest.raises(RecordsExpired, match=f"{topic}/1 now starts at offset 6, but offset 0"):
        consume(home, lambda: False)
    assert home.rows() == 10
    assert "expired" in {f["kind"] for f in home.verify("--grace", "0")["findings"]}


@real
def test_an_archive_that_was_deleted_is_not_filled_without_what_expired(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, payloads(10))
    home = archived(tmp_path, broker, topic)
    consume(home, lambda: home.rows() == 10 == kept(home))
    shutil.rmtree(tmp_path / "archive")
    expire(broker, topic, 0, 6)
    with pytest.raises(RecordsExpired, match=r"offset 0 is still wanted by archive .*: 6 offsets"):
        consume(home, lambda: False)


@real
def test_a_first_start_without_records_makes_one_commit_and_no_object(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = broker.create_topic(8)
    broker.produce(topic, payloads(16))
    home = archived(tmp_path, broker, topic)
    change_pipeline(home, source={"topics": [topic], "start": "latest"})
    for _ in range(2):
        consume(home, pinned_at(home))
    assert version(home.uri("user")) == 1
    assert kept(home) == 0
    assert not list((tmp_path / "archive").rglob("*.parquet"))
    assert not (tmp_path / "lake/user_quarantine/_delta_log").exists()
    assert "sink_is_empty" not in capsys.readouterr().out
    assert home.lag() == 0
    assert home.verify("--grace", "0")["findings"] == []


# --- On Kinesis


def kept_moment(kinesis: FakeKinesis) -> Position:
    """Return the first position of a pipeline that reads the latest, as its table has it."""
    with opened(source_of(kinesis, start="latest"), Recorder()) as source:
        drain(source, 5)
        [(_, told)] = source.starts([of(A).source]).items()
        assert told.at_ms is not None
        return Position(told.at_ms)


def after(kinesis: FakeKinesis, moment: Position, **held: Position) -> list[bytes | None]:
    """Return the values that a later start reads, with these positions in the table."""
    positions = {of(name): at for name, at in held.items()}

    class Bound(Recorder):
        def assigned(self, partitions: Any) -> None:
            known = {
                p: Known(positions.get(p), positions.get(p), origin=moment) for p in partitions
            }
            source.bind(known)
            super().assigned(partitions)

    source = source_of(kinesis, start="latest")
    with opened(source, Bound(dict(positions))):
        return flat(drain(source, 10))


def test_children_begin_at_their_first_record_though_their_parent_expired_meanwhile() -> None:
    kinesis = FakeKinesis(FakeClock())
    kinesis.put(A, b"before")
    kinesis.clock.sleep(1)
    moment = kept_moment(kinesis)
    [number] = kinesis.put(A, b"1")
    left, right = kinesis.reshard((A,), 2)
    kinesis.put(left, b"2")
    kinesis.put(right, b"3")
    kinesis.shards.pop(A)
    found = after(kinesis, moment, **{A: Position(number)})
    assert sorted(map(bytes, filter(None, found))) == [b"2", b"3"]


def test_a_quiet_shard_begins_at_the_first_start_after_a_restart() -> None:
    kinesis = FakeKinesis(FakeClock(), shards=2)
    kinesis.put(A, b"before")
    kinesis.clock.sleep(1)
    moment = kept_moment(kinesis)
    kinesis.put(A, b"1")
    (child,) = kinesis.reshard((A,), 1)
    kinesis.put(child, b"2")
    assert after(kinesis, moment) == [b"1", b"2"]


@pytest.mark.parametrize("date", ["Thu, 01 Jan 2026 00:00:07 GMT", "nonsense", ""])
def test_a_first_start_is_kept_by_the_clock_of_kinesis_where_it_tells(date: str) -> None:
    kinesis = FakeKinesis(FakeClock())
    kinesis.clock.sleep(3600)
    kinesis.date = date
    told = datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC) if date.startswith("Thu") else None
    own = int((told or kinesis.clock.now()).timestamp() * 1000)
    assert kept_moment(kinesis) == Position(own)


def test_the_moment_of_a_stream_is_kept_once_and_an_old_table_says_its_age(tmp_path: Path) -> None:
    def own() -> DeltaSink:
        target = delta_target(str(tmp_path), dict, KINESIS, "clean")
        return DeltaSink("clean", target, FolderStore(tmp_path), SystemClock())

    log = RecordLog(KINESIS)
    shards = [log.partition(0), log.partition(1)]
    began = time.time() * 1000
    old = own()
    old.positions(shards)
    old.write(log.batch({0: (0, 9)}))
    late = int(began) + 10**6
    own().pin({log.source: Start(dict.fromkeys(shards), at_ms=late)})
    again = own()
    assert again.positions(shards)[shards[1]] is None
    found = again.origins(shards)
    assert began - 1 <= found[shards[1]].number < late
    with pytest.raises(StalePosition):
        again.pin({log.source: Start(dict.fromkeys(shards), at_ms=late)})
