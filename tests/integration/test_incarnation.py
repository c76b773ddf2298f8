"""Topics that were deleted and created again, and the incarnations of a table they lead to."""

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import polars as pl
import pytest
import yaml
from confluent_kafka import Uuid
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from consumers.kafka.client import settings
from consumers.kafka.reader import Reader
from consumers.kafka.topic_identity import TopicIds, epoch_of
from consumers.kafka.watermarks import stable_watermarks
from core.batch import KAFKA, KINESIS, Batch, Coordinates, Partition, Position, Records
from core.clock import SystemClock
from core.errors import PositionLost, StalePosition, TopicRecreated
from core.merge import merge
from core.protocols import Options
from core.topic_id import refuse_another, spelled
from sinks.delta import incarnation as incarnations
from sinks.delta.incarnation_reader import IncarnationReader
from sinks.delta.sink import DeltaSink
from sinks.parquet.sink import ParquetSink
from sinks.storage.store import FolderStore, open_store
from tests.support.aws import TestAws
from tests.support.batches import APP, RecordLog, delta_target
from tests.support.brokers import Broker
from tests.support.commits import before_the_next_commit
from tests.support.processes import (
    BAD_EVERY,
    Home,
    kafka_home,
    kinesis_home,
    payloads,
    put,
    stop,
    until,
)
from tests.support.topics import create, delete, recreate
from tests.support.waiting import PATIENCE

real = pytest.mark.real_broker
LOG = RecordLog(KAFKA)
P0, P1 = LOG.partition(0), LOG.partition(1)
OLD, NEW = 2**61 + 1, 2**61 + 2


def living(batch: Batch, epoch: int | None) -> Batch:
    """Return the batch as read from the topic of this epoch."""
    spans = {p: replace(s, end=replace(s.end, epoch=epoch)) for p, s in batch.spans.items()}
    return replace(batch, spans=spans)


def clean(where: Path, **target: Any) -> DeltaSink:
    """Make a writer of the clean table that has read nothing yet."""
    own = replace(delta_target(str(where), dict, KAFKA, "clean"), **target)
    return DeltaSink("clean", own, FolderStore(where), SystemClock())


def opened(where: Path, **target: Any) -> DeltaSink:
    """Make a writer of the clean table that owns both partitions."""
    sink = clean(where, **target)
    sink.positions([P0, P1])
    return sink


def epochs(folder: Path) -> list[int | None]:
    """Return the epochs of the table's positions, as a new reader finds them."""
    found = clean(folder).positions([P0, P1])
    return [None if at is None else at.epoch for at in found.values()]


# --- Epochs


def test_an_epoch_is_spelled_as_the_end_of_the_id_that_kafka_shows() -> None:
    # As `kafka-topics.sh --describe` showed it, with the halves that the client gave.
    epoch = epoch_of(600498751265589348, -8991542863552437237)
    assert epoch is not None
    assert 0 <= epoch < 2**62
    assert "CFVmbsVASGSDN59no0IkCw".endswith(spelled(epoch).removeprefix("…"))


def test_a_topic_without_an_id_has_no_epoch() -> None:
    assert epoch_of(0, 0) is None


@pytest.mark.parametrize("held", [None, Position(3), Position(3, epoch=OLD)])
def test_only_two_known_epochs_can_disagree(held: Position | None) -> None:
    refuse_another(P0, held, None)
    refuse_another(P0, held, OLD)
    if held is not None and held.epoch is not None:
        with pytest.raises(TopicRecreated, match=r"offset 3 of demo\.pin/0"):
            refuse_another(P0, held, NEW)


def test_reads_of_two_lives_are_never_merged() -> None:
    def read(first: int, last: int, epoch: int | None) -> Records:
        batch = living(LOG.batch({0: (first, last)}), epoch)
        return Records(batch.raw, batch.spans, KAFKA)

    merged = merge([read(0, 3, None), read(3, 6, OLD), read(6, 9, OLD)])
    assert merged.spans[P0].end.epoch == OLD
    with pytest.raises(ValueError, match="does not start where"):
        merge([read(0, 3, OLD), read(3, 6, NEW)])


# --- Epochs in the tables


def test_a_table_learns_the_epochs_of_its_positions_once(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.write(LOG.batch({0: (0, 3), 1: (0, 3)}))
    assert epochs(tmp_path) == [None, None]
    for first in (3, 6, 9):
        sink.write(living(LOG.batch({0: (first, first + 3)}), OLD))
    assert epochs(tmp_path) == [OLD, None]
    logged = [p.read_text() for p in (tmp_path / "_delta_log").glob("*.json")]
    assert sum(f"{APP}/{P0}/epoch" in text for text in logged) == 1


def test_a_table_refuses_another_life_of_a_topic_before_it_writes_a_file(tmp_path: Path) -> None:
    opened(tmp_path).write(living(LOG.batch({0: (0, 9)}), OLD))
    sink, before = opened(tmp_path), list(tmp_path.rglob("*"))
    for batch in ({0: (9, 12)}, {0: (3, 6)}, {0: (0, 12), 1: (0, 3)}):
        with pytest.raises(TopicRecreated, match="deleted and created again") as raised:
            sink.write(living(LOG.batch(batch), NEW))
        assert spelled(OLD) in raised.value.message
        assert spelled(NEW) in raised.value.message
        assert "--new-incarnation" in raised.value.hint
    assert list(tmp_path.rglob("*")) == before


def test_a_batch_of_an_unknown_life_is_written_and_the_epoch_stays(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.write(living(LOG.batch({0: (0, 3)}), OLD))
    sink.write(LOG.batch({0: (3, 6)}))
    with pytest.raises(TopicRecreated):
        sink.write(living(LOG.batch({0: (6, 9)}), NEW))
    assert epochs(tmp_path) == [OLD, None]


def test_an_archive_refuses_another_life_of_a_topic(tmp_path: Path) -> None:
    def archive() -> ParquetSink:
        made = ParquetSink(FolderStore(tmp_path), "raw", KAFKA, "archive")
        made.positions([P0, P1])
        return made

    first = archive()
    first.write(LOG.batch({0: (0, 3)}))
    first.write(living(LOG.batch({0: (3, 6)}), OLD))
    first.write(LOG.batch({0: (6, 9)}))
    assert archive().positions([P0])[P0] == Position(9)
    for sink in (first, archive()):
        with pytest.raises(TopicRecreated):
            sink.write(living(LOG.batch({0: (9, 12)}), NEW))


# --- Incarnations in one table


def second(**more: Any) -> dict[str, Any]:
    """Return the settings of the second incarnation's target."""
    return {"app": "pinpip/pin/2", "folder": incarnations.folder_of("2"), **more}


def test_another_incarnation_begins_only_on_purpose(tmp_path: Path) -> None:
    opened(tmp_path).write(LOG.batch({0: (0, 9)}))
    with pytest.raises(PositionLost, match="of another incarnation than pinpip/pin/2") as raised:
        opened(tmp_path, **second())
    assert "--new-incarnation" in raised.value.hint
    assert clean(tmp_path, **second(begins=True)).positions([P0, P1]) == {P0: None, P1: None}


def test_an_incarnation_that_began_goes_on_by_itself(tmp_path: Path) -> None:
    opened(tmp_path).write(LOG.batch({0: (0, 9), 1: (0, 9)}))
    opened(tmp_path, **second(begins=True)).write(LOG.batch({0: (0, 3)}))
    again = opened(tmp_path, **second())
    assert again.positions([P0, P1]) == {P0: Position(3), P1: None}
    again.write(LOG.batch({0: (3, 6), 1: (0, 3)}))
    assert opened(tmp_path).positions([P0, P1]) == {P0: Position(9), P1: Position(9)}


def test_rows_of_the_own_incarnation_without_a_position_are_refused_all_the_same(
    tmp_path: Path,
) -> None:
    opened(tmp_path).write(LOG.batch({0: (0, 9)}))
    opened(tmp_path, **second(begins=True)).write(LOG.batch({0: (0, 9)}))
    renamed = {"app": "pinpip/renamed/2", "folder": incarnations.folder_of("2"), "begins": True}
    with pytest.raises(PositionLost, match="no position for it under pinpip/renamed/2"):
        opened(tmp_path, **renamed)


def test_two_members_that_begin_an_incarnation_together_both_go_on(tmp_path: Path) -> None:
    opened(tmp_path).write(LOG.batch({0: (0, 9), 1: (0, 9)}))
    one, other = clean(tmp_path, **second(begins=True)), clean(tmp_path, **second(begins=True))
    one.positions([P0])
    other.positions([P1])
    one.write(LOG.batch({0: (0, 3)}))
    other.write(LOG.batch({1: (0, 3)}))
    assert clean(tmp_path, **second()).positions([P0, P1]) == {P0: Position(3), P1: Position(3)}


def test_of_two_that_begin_an_incarnation_with_the_same_partition_one_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path).write(LOG.batch({0: (0, 9), 1: (0, 9)}))
    one, other = opened(tmp_path, **second(begins=True)), opened(tmp_path, **second(begins=True))
    before_the_next_commit(monkeypatch, lambda: other.write(LOG.batch({0: (0, 6), 1: (0, 6)})))
    with pytest.raises(StalePosition):
        one.write(LOG.batch({1: (0, 3)}))
    assert one.positions([P0, P1]) == {P0: Position(6), P1: Position(6)}
    one.write(LOG.batch({1: (6, 9)}))
    own = of_life(str(tmp_path), dict, KAFKA, "2")
    wanted = LOG.batch({0: (0, 6), 1: (0, 9)}).clean.with_columns(_incarnation=pl.lit("2"))
    assert_frame_equal(own, wanted, check_row_order=False)


def of_life(uri: str, options: Options, coordinates: Coordinates, incarnation: str) -> pl.DataFrame:
    """Return the rows of one incarnation, as verify reads them."""
    table = DeltaTable(uri, storage_options=options())
    folder = incarnations.folder_of(incarnation)
    lives = IncarnationReader(table, options, coordinates, f"pinpip/pin/{incarnation}", folder)
    return lives.scan(lives.files["path"].to_list()).collect()


def identities(found: pl.DataFrame, coordinates: Coordinates) -> list[tuple[Any, ...]]:
    """Which records a frame holds."""
    return sorted(found.select(coordinates.identity).rows())


@pytest.mark.parametrize("place", ["folder", "bucket"])
@pytest.mark.parametrize("coordinates", [KAFKA, KINESIS], ids=lambda c: c.kind)
def test_readers_see_the_rows_of_all_incarnations(
    coordinates: Coordinates, place: str, tmp_path: Path, aws: TestAws
) -> None:
    in_bucket = place == "bucket"
    uri = f"s3://{aws.bucket()}/lake/pin" if in_bucket else str(tmp_path / "pin")
    options: Options = aws.storage_options if in_bucket else dict
    log = RecordLog(coordinates)
    target = delta_target(uri, options, coordinates, "clean")
    for incarnation, batch in (("1", log.batch({0: (0, 9)})), ("2", log.batch({0: (0, 6)}))):
        own = replace(
            target,
            app=f"pinpip/pin/{incarnation}",
            folder=incarnations.folder_of(incarnation),
            begins=True,
        )
        sink = DeltaSink("clean", own, open_store(uri, aws.config), SystemClock())
        sink.positions([log.partition(0)])
        sink.write(batch)
    first, again = log.batch({0: (0, 9)}).clean, log.batch({0: (0, 6)}).clean
    table = DeltaTable(uri, storage_options=options())
    both = identities(pl.concat([first, again]), coordinates)
    assert identities(pl.read_delta(uri, storage_options=options()), coordinates) == both
    for incarnation, held in (("1", first), ("2", again)):
        mine = of_life(uri, options, coordinates, incarnation)
        assert identities(mine, coordinates) == identities(held, coordinates)
    dataset = table.to_pyarrow_dataset()
    counted = duckdb.connect().execute("SELECT count(*) FROM dataset").fetchall()
    assert counted == [(len(both),)]
    assert dataset.schema.names == pl.read_delta(uri, storage_options=options()).columns


# --- A topic created again behind a reader


def reading(broker: Broker, partition: Partition, at: Position | None) -> Reader:
    """Make a reader that was sought to `at`."""
    reader = Reader(settings(broker.properties, "reader", 0), headers=False, chunk=1000)
    reader.consumer.incremental_assign(reader.place({partition: at}))
    return reader


def read(reader: Reader, wanted: int) -> Position:
    """Where the reader is when it has come to this offset."""
    reached: list[Position] = []

    def come() -> bool:
        records = reader.read(0.2)
        if records is not None:
            reached.extend(span.end for span in records.spans.values())
        return bool(reached) and reached[-1].number >= wanted

    until(come, f"offset {wanted}")
    return reached[-1]


@real
@pytest.mark.parametrize("held", [None, Position(2), Position(2, epoch=OLD)])
def test_an_id_of_zeros_counts_as_unknown(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, held: Position | None
) -> None:
    def zeros(_: TopicIds, topics: list[str]) -> dict[str, Future[Any]]:
        answer: Future[Any] = Future()
        answer.set_result(SimpleNamespace(topic_id=Uuid(0, 0)))
        return dict.fromkeys(topics, answer)

    monkeypatch.setattr(TopicIds, "ask", zeros)
    topic = broker.create_topic(1)
    broker.produce(topic, [b"{}"] * 5)
    reader = reading(broker, Partition(topic, "0"), held)
    try:
        assert read(reader, 5).epoch is None
    finally:
        reader.close()


@pytest.fixture
def topic(broker: Broker) -> str:
    """Create a topic of one partition with a hundred records."""
    name = broker.create_topic(1)
    broker.produce(name, payloads(100))
    return name


@real
def test_a_position_says_which_life_of_the_topic_it_counts_in(broker: Broker, topic: str) -> None:
    partition = Partition(topic, "0")
    reader = reading(broker, partition, None)
    at = read(reader, 100)
    [(_, end)] = stable_watermarks(broker.properties, [topic]).values()
    assert at.epoch == end.epoch is not None
    reader.place({partition: at})
    with pytest.raises(TopicRecreated, match=rf"offset 100 of {topic}/0"):
        reader.place({partition: Position(100, epoch=OLD)})
    reader.consumer.close()


@real
@pytest.mark.parametrize("count", [20, 100, 150])
def test_a_running_reader_gives_no_record_of_a_topic_created_again_at_once(
    broker: Broker, topic: str, count: int
) -> None:
    reader = reading(broker, Partition(topic, "0"), None)
    read(reader, 100)
    recreate(broker, topic, payloads(count, since=1000))
    with pytest.raises(TopicRecreated, match=rf"offset \d+ of {topic}/0"):
        read(reader, 101)
    reader.consumer.close()


@real
def test_a_reader_does_not_start_in_a_topic_created_again(broker: Broker, topic: str) -> None:
    partition = Partition(topic, "0")
    reader = reading(broker, partition, None)
    at = read(reader, 100)
    reader.consumer.close()
    recreate(broker, topic, payloads(150))
    with pytest.raises(TopicRecreated):
        reading(broker, partition, at)
    reading(broker, partition, None).consumer.close()


def test_a_cluster_that_tells_no_ids_is_never_waited_for(
    mock_broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.kafka.topic_identity._MOCK", "no cluster is called so")
    name = mock_broker.create_topic()
    mock_broker.produce(name, payloads(8))
    reader = reading(mock_broker, Partition(name, "0"), Position(1, epoch=OLD))
    assert read(reader, 2).epoch is None
    ids = TopicIds(reader.admin, reader.consumer)
    assert ids.ask([name]) == {}
    reader.consumer.close()


@real
def test_a_topic_that_is_not_there_has_no_epoch(broker: Broker, topic: str) -> None:
    reader = reading(broker, Partition(topic, "0"), None)
    ids = TopicIds(reader.admin, reader.consumer)
    assert ids.now("nobody-made-this") is None
    assert ids.now(topic) is not None


# --- As its user sees it


def change(home: Home, **pipeline: object) -> None:
    """Write these keys into the pipeline's configuration."""
    tree = yaml.safe_load(home.config_path.read_text(encoding="utf-8"))
    tree["pipelines"]["user"] |= pipeline
    home.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")


def consumed(home: Home, count: int, *arguments: str) -> None:
    """Consume until both tables hold `count` rows."""
    with home.running("consume", "user", *arguments) as consumer:
        until(lambda: home.rows() >= count or consumer.poll() is not None, f"{count} rows")
        assert stop(consumer) == 0
    assert home.rows() == count


def refusal(home: Home) -> str:
    """Return the error of a consumer that does not start."""
    done = home.run("consume", "user")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def numbers(home: Home) -> list[int]:
    """Return the numbers of the valid payloads in the clean table."""
    return home.table()["ind"].sort().to_list()


def good(*stretches: range) -> list[int]:
    """Those of these numbers whose payload is clean."""
    return [n for stretch in stretches for n in stretch if n % BAD_EVERY]


@real
def test_a_topic_created_again_is_read_into_the_same_table_by_a_new_incarnation(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    home = kafka_home(tmp_path, broker, topic)
    archive = tmp_path / "archive"
    change(home, sinks=[{"delta": "user"}, {"parquet": str(archive), "stage": "raw"}])
    consumed(home, 100)
    recreate(broker, topic, payloads(150, since=1000))
    assert f"topic {topic} was deleted and created again" in refusal(home)
    assert numbers(home) == good(range(100))

    change(home, incarnation="2")
    assert "--new-incarnation" in refusal(home)
    consumed(home, 250, "--new-incarnation")
    replace(broker, _producers={}).produce(topic, payloads(50, since=2000))
    consumed(home, 300)
    assert numbers(home) == good(range(100), range(1000, 1150), range(2000, 2050))
    assert home.verify()["findings"] == []
    chains = {str(p.parent.relative_to(archive)) for p in archive.rglob("*.parquet")}
    assert chains == {f"{topic}/partition=0", f"incarnation=2/{topic}/partition=0"}
    kept = pl.read_parquet(f"{archive}/incarnation=2/**/*.parquet", hive_partitioning=False)
    assert kept["_value"].to_list() == [*payloads(150, since=1000), *payloads(50, since=2000)]


@real
def test_a_running_consumer_stops_when_its_topic_is_created_again(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    home = kafka_home(tmp_path, broker, topic)
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() == 100, "all rows")
        recreate(broker, topic, payloads(150, since=1000))
        assert consumer.wait(PATIENCE) == 1
    assert "deleted and created again" in (tmp_path / "process.log").read_text(encoding="utf-8")
    assert numbers(home) == good(range(100))


@real
def test_a_running_consumer_stops_when_its_topic_was_away_for_a_while(
    broker: Broker, topic: str, tmp_path: Path
) -> None:
    home, admin = kafka_home(tmp_path, broker, topic), AdminClient(broker.properties)
    log = tmp_path / "process.log"
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() == 100, "all rows")
        delete(admin, topic)
        until(lambda: "kafka awaits topic" in log.read_text(encoding="utf-8"), "word of it")
        assert consumer.poll() is None
        create(admin, topic)
        replace(broker, _producers={}).produce(topic, payloads(150, since=1000))
        assert consumer.wait(PATIENCE) == 1
    assert "deleted and created again" in log.read_text(encoding="utf-8")
    assert numbers(home) == good(range(100))


def test_a_stream_is_read_afresh_into_the_same_table_by_a_new_incarnation(
    aws: TestAws, tmp_path: Path
) -> None:
    stream = aws.stream(shards=1)
    put(aws, stream, payloads(100))
    home = kinesis_home(tmp_path, aws, stream)
    consumed(home, 100)
    change(home, incarnation="2")
    assert "--new-incarnation" in refusal(home)
    consumed(home, 200, "--new-incarnation")
    assert numbers(home) == sorted(2 * good(range(100)))
    assert home.verify("--offline")["clean"] == len(good(range(100)))
    assert home.verify("--offline")["findings"] == []


def test_a_new_incarnation_wants_to_know_of_which_pipelines(aws: TestAws, tmp_path: Path) -> None:
    home = kinesis_home(tmp_path, aws, "nowhere")
    done = home.run("consume", "--new-incarnation")
    assert done.returncode == 1
    assert f"pinpip -c {home.config_path} consume pin --new-incarnation" in done.stderr
