"""verify compares the identity of the source with that of every sink, and names what it cannot."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from audit import identity
from audit.identity import SinkEpoch
from audit.invariants import FindingKind
from audit.verify import verify
from consumers.kafka.topic_identity import TopicIds
from core.batch import KAFKA, KINESIS, Coordinates, Partition
from pinpip.verify.verdict import RereadPlan
from sinks.parquet.chain import KEY
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import change, copied, invoke
from tests.support.consuming import consumed
from tests.support.fake_kinesis import fault
from tests.support.pairs import A, B, Pair
from tests.support.processes import Home, kafka_home, kinesis_home, payloads, put

COUNT = 40


def places(home: Home, plan: RereadPlan | None = None) -> list[str]:
    """Return what verify reports as unknown; it must find no difference."""
    tree = home.examined(0, plan)
    assert tree["findings"] == []
    return [f"{u['where']}: {u['detail']}" for u in tree["unknown"]]


@pytest.fixture(scope="module")
def topic(broker: Broker) -> str:
    """Create a topic that has records in at least two partitions."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT))
    return topic


def archived(folder: Path, broker: Broker, topic: str) -> Home:
    """Tables and an archive that are still empty."""
    home = kafka_home(folder, broker, topic)
    sinks = [{"delta": "user"}, {"parquet": str(folder / "archive")}]
    change(home, "pipelines/user/sinks", sinks)
    return home


@pytest.fixture(scope="module")
def filled(broker: Broker, topic: str, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = archived(tmp_path_factory.mktemp("filled"), broker, topic)
    return consumed(home, lambda: home.rows() == COUNT)


@pytest.fixture
def home(filled: Home, tmp_path: Path) -> Home:
    """Copy `filled`, so that a test may damage it."""
    copy = copied(filled, tmp_path / "copy")
    sinks = [{"delta": "user"}, {"parquet": str(copy.folder / "archive")}]
    change(copy, "pipelines/user/sinks", sinks)
    return copy


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Hide topic ids as an old broker does; calling the result ends that."""
    monkeypatch.setattr(TopicIds, "answers", lambda *_: {})
    return monkeypatch.undo


def alter_archive(home: Home, epoch: int | None) -> None:
    """Let all objects say that they are of this life."""
    for path in (home.folder / "archive").rglob("*.parquet"):
        about = json.loads(pl.read_parquet_metadata(path)[KEY]) | {"epoch": epoch}
        pl.read_parquet(path).write_parquet(path, metadata={KEY: json.dumps(about)})


def test_identities_that_agree_leave_nothing_unknown(home: Home) -> None:
    assert places(home) == []


@pytest.mark.usefixtures("silent")
def test_a_source_without_an_identity_is_named_once(home: Home, topic: str) -> None:
    [unknown] = places(home)
    assert unknown.startswith(f"{topic}: the source tells no topic id")
    done = invoke(home, "verify", "--grace", "0")
    assert done.exit_code == 4
    assert f"not known whether any are missing: {COUNT} rows, none twice" in done.output


@pytest.mark.usefixtures("silent")
def test_rows_that_all_equal_the_source_need_no_identity(home: Home) -> None:
    assert places(home, RereadPlan()) == []
    assert len(places(home, RereadPlan(sample=1))) == 1


def test_a_table_that_keeps_no_identity_is_not_known(
    broker: Broker, tmp_path: Path, silent: Callable[[], None]
) -> None:
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT))
    home = archived(tmp_path, broker, topic)
    consumed(home, lambda: home.rows() == COUNT)
    silent()
    table, archive = places(home)
    assert table.startswith(f"{home.uri('user')}: it keeps no identity of topic {topic}")
    assert archive.startswith(str(home.folder / "archive"))
    assert places(home, RereadPlan()) == []
    broker.produce(topic, payloads(8, since=COUNT))
    consumed(home, lambda: home.rows() == COUNT + 8)
    assert places(home) == []


def test_an_archive_that_keeps_no_identity_is_not_known(home: Home) -> None:
    alter_archive(home, None)
    [unknown] = places(home)
    assert "archive: it keeps no identity" in unknown


def test_an_archive_of_another_topic_of_that_name_is_found(home: Home) -> None:
    alter_archive(home, 7)
    found = home.examined()["findings"]
    assert {f["kind"] for f in found} == {"recreated"}
    assert "different topics of that name" in found[0]["detail"]


@pytest.mark.usefixtures("silent")
def test_sinks_of_different_topics_are_found_without_the_source(home: Home) -> None:
    alter_archive(home, 7)
    tree = home.examined(None)
    assert {f["kind"] for f in tree["findings"]} == {"recreated"}


def test_an_archive_beside_a_table_without_an_identity_is_compared_with_the_source(
    broker: Broker, topic: str, tmp_path: Path, silent: Callable[[], None]
) -> None:
    home = archived(tmp_path, broker, topic)
    consumed(home, lambda: home.rows() >= COUNT)
    silent()
    alter_archive(home, 7)
    [finding] = home.examined()["findings"]
    assert finding["kind"] == "recreated"
    assert "archive have belongs to the topic with the id" in finding["detail"]


# --- Kinesis


def test_a_stream_whose_creation_is_not_told_is_not_known(
    aws: TestAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = aws.stream()
    put(aws, stream, payloads(COUNT))
    home = kinesis_home(tmp_path, aws, stream)
    consumed(home, lambda: home.rows() == COUNT)
    assert places(home) == []

    def denied(*_: object) -> None:
        raise fault("AccessDeniedException")

    monkeypatch.setattr("consumers.kinesis.life._summary", denied)
    [unknown] = places(home)
    assert unknown.startswith(f"{stream}: the source tells no time of the stream's creation")
    put(aws, stream, payloads(8, since=COUNT))
    other = kinesis_home(tmp_path / "other", aws, stream)
    consumed(other, lambda: other.rows() == COUNT + 8)
    monkeypatch.undo()
    [unknown] = places(other)
    assert f"it keeps no identity of stream {stream}" in unknown


# --- sinks alone


def dated(pair: Pair, first: int, last: int, epoch: int | None) -> Any:
    """Return records [first, last) of both partitions, read in this epoch."""
    batch = pair.log.batch({A: (first, last), B: (first, last)})
    spans = {p: replace(s, end=replace(s.end, epoch=epoch)) for p, s in batch.spans.items()}
    return replace(batch, spans=spans)


@pytest.mark.parametrize("coordinates", [KAFKA, KINESIS], ids=lambda c: c.kind)
def test_each_sink_tells_the_life_that_it_keeps(tmp_path: Path, coordinates: Coordinates) -> None:
    pair = Pair(str(tmp_path), coordinates)
    pair.write(dated(pair, 0, 10, None), stages=("rejected",))
    pair.write(dated(pair, 0, 10, 5))
    pair.archived(dated(pair, 0, 10, None))
    report = verify(pair.tables, [pair.archive])
    assert report.findings == ()
    of_a = [life for life in report.lives if life.partition == pair.log.partition(A)]
    assert [(Path(life.sink).name, life.epoch) for life in of_a] == [
        ("clean", 5),
        ("archive", None),
    ]


def test_objects_of_two_lives_in_one_chain_are_found(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    batches = [dated(pair, n, n + 10, 5) for n in (0, 10)]
    pair.write(*batches)
    pair.archived(*batches)
    first = pair.objects(A)[0]
    about = json.loads(pl.read_parquet_metadata(first)[KEY]) | {"epoch": 6}
    pl.read_parquet(first).write_parquet(first, metadata={KEY: json.dumps(about)})
    [finding] = verify(pair.tables, [pair.archive]).findings
    assert finding.kind is FindingKind.ARCHIVE
    assert "another topic" in finding.detail


def test_however_many_topics_are_silent_they_are_named_once() -> None:
    lives = [
        SinkEpoch(sink, Partition(f"t-{n:03}", "0"), None)
        for n in range(500)
        for sink in ("table", "archive")
    ]
    silent = {life.partition.source: None for life in lives}
    [(where, _)] = identity.unknown(lives, silent, KAFKA)
    assert where == "t-000 and 499 more"
    told = dict.fromkeys(silent, 3)
    assert [where for where, _ in identity.unknown(lives, told, KAFKA)] == ["table", "archive"]
    assert list(identity.unknown(lives, {}, KAFKA)) == []
