"""One life for all sinks: what one sink knows of a topic binds the others."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.kafka.client import settings
from consumers.kafka.reader import Reader
from consumers.kafka.topic_identity import TopicIds
from core.batch import Partition, Position
from core.errors import TopicRecreated, TransientError
from core.topic_id import Known, known
from tests.support.archives import archived, kept
from tests.support.brokers import Broker, mock_broker
from tests.support.consuming import consume
from tests.support.member import P0, P1, Member, fill
from tests.support.memory import MemoryBroker, MemoryTable
from tests.support.processes import Home, payloads
from tests.support.topics import recreate

real = pytest.mark.real_broker
TOPIC = "demo.user"
OLD, NEW = 2**61 + 1, 2**61 + 2


def holding(home: Home, count: int) -> Callable[[], bool]:
    """Whether the table, its quarantine and the archive hold `count` records."""
    return lambda: home.rows() == count == kept(home)


@pytest.fixture
def clusters() -> Iterator[tuple[Broker, Broker]]:
    """Two embedded clusters: that of yesterday, and the one that `local up` made today."""
    with mock_broker() as yesterday, mock_broker() as today:
        yield yesterday, today


def test_a_cluster_made_again_stops_a_pipeline_of_which_one_sink_is_empty(
    clusters: tuple[Broker, Broker], tmp_path: Path
) -> None:
    yesterday, today = clusters
    yesterday.produce(TOPIC, payloads(40))
    home = archived(tmp_path, yesterday, TOPIC)
    consume(home, holding(home, 40))
    today.produce(TOPIC, payloads(400, since=1000))
    shutil.rmtree(tmp_path / "archive")
    again = archived(tmp_path, today, TOPIC)
    with pytest.raises(TopicRecreated) as raised:
        consume(again, lambda: False)
    assert "--new-incarnation" in raised.value.hint
    assert not list((tmp_path / "archive").rglob("*.parquet"))


@real
@pytest.mark.parametrize(("gone", "count"), [("archive", 20), ("lake", 400)])
def test_a_topic_created_again_stops_a_pipeline_of_which_one_sink_is_empty(
    broker: Broker, tmp_path: Path, gone: str, count: int
) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, payloads(100))
    home = archived(tmp_path, broker, topic)
    consume(home, holding(home, 100))
    recreate(broker, topic, payloads(count, since=1000))
    shutil.rmtree(tmp_path / gone)
    with pytest.raises(TopicRecreated, match=rf"offset 100 of {topic}/0"):
        consume(home, lambda: False)
    assert not list((tmp_path / gone).rglob("*.parquet"))


@real
@pytest.mark.parametrize("gone", ["archive", "lake/user", "lake/user_quarantine", "lake"])
def test_an_emptied_sink_is_filled_again_from_the_same_topic(
    broker: Broker, tmp_path: Path, gone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = broker.create_topic(2)
    broker.produce(topic, payloads(100))
    home = archived(tmp_path, broker, topic)
    consume(home, holding(home, 100))
    shutil.rmtree(tmp_path / gone)
    capsys.readouterr()
    assert consume(home, holding(home, 100)) > 0
    assert ("sink_is_empty" in capsys.readouterr().out) == (gone != "lake/user_quarantine")
    assert home.verify("--grace", "0")["findings"] == []


# --- What the sinks know together


positions = st.builds(Position, st.integers(0, 9), epoch=st.sampled_from([None, OLD]))
sinks = st.dictionaries(st.sampled_from("abc"), st.none() | positions, min_size=1)


@given(sinks)
def test_reading_begins_at_the_slowest_sink_and_the_fastest_one_binds(
    held: dict[str, Position | None],
) -> None:
    found = known(P0, held)
    whole = [at for at in held.values() if at is not None]
    assert found.furthest == max(whole, default=None)
    assert found.start == (min(whole) if len(whole) == len(held) else None)
    assert set(found.empty) == ({n for n, at in held.items() if at is None} if whole else set())
    if found.furthest is not None:
        assert found.furthest.epoch == (OLD if any(at.epoch for at in whole) else None)


def test_sinks_of_two_lives_are_refused_by_their_names() -> None:
    held = {"clean": Position(5, epoch=OLD), "quarantine": None, "archive": Position(3, epoch=NEW)}
    with pytest.raises(TopicRecreated, match=r"pin/0 .* \(clean\) and .* \(archive\)") as raised:
        known(P0, held)
    assert "--new-incarnation" in raised.value.hint


def test_the_source_hears_what_the_sinks_know_before_it_is_sought(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables, broker = [MemoryTable(held={P0: Position(4, epoch=OLD)}), MemoryTable()], MemoryBroker()
    member = Member(broker, tables)
    heard: list[Any] = []
    monkeypatch.setattr(member.source, "bind", heard.append)
    monkeypatch.setattr(member.source, "seek", heard.append)
    fill(broker, P0, 6)
    member.takes(P0, P1)
    member.turn()
    bound, sought = heard
    assert bound[P0] == Known(None, Position(4), ("rejected",))
    assert bound[P0].furthest.epoch == OLD
    assert sought == {P0: None, P1: None}


def reading(broker: Broker, bound: dict[Partition, Known]) -> Reader:
    """Make a reader that is bound to the sinks' positions."""
    reader = Reader(settings(broker.properties, "reader", 0), headers=False, chunk=1000)
    reader.placement.known |= bound
    return reader


@real
def test_a_sink_is_not_filled_beside_another_while_the_broker_does_not_tell_the_topics_id(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, payloads(9))
    partition = Partition(topic, "0")
    ahead = Position(9, epoch=OLD)
    monkeypatch.setattr(TopicIds, "answers", lambda *_: {})
    for start, may in ((None, False), (Position(3, epoch=OLD), False), (ahead, True)):
        reader = reading(broker, {partition: Known(start, ahead)})
        if may:
            reader.place({partition: start})
        else:
            with pytest.raises(TransientError, match=f"the id of topic {topic}"):
                reader.place({partition: start})
        reader.close()


@real
def test_a_sink_beyond_the_topics_end_stops_the_one_that_is_behind(broker: Broker) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, payloads(9))
    partition = Partition(topic, "0")
    for furthest, may in ((Position(9), True), (Position(10), False)):
        reader = reading(broker, {partition: Known(None, furthest)})
        if may:
            reader.place({partition: None})
        else:
            with pytest.raises(TopicRecreated, match="ends at offset 9, but the table is at 10"):
                reader.place({partition: None})
        reader.close()


def test_an_embedded_cluster_has_one_epoch_for_its_life(clusters: tuple[Broker, Broker]) -> None:
    def epoch(broker: Broker) -> int | None:
        reader = reading(broker, {})
        found = TopicIds(reader.admin, reader.consumer).now(TOPIC)
        reader.close()
        return found

    one, other = clusters
    assert epoch(one) == epoch(one) is not None
    assert epoch(one) != epoch(other)
    assert epoch(replace(one)) == epoch(one)
