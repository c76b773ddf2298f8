"""Lakes that earlier versions wrote are continued and proven without a step by hand."""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from audit.archive import Archive
from audit.verify import Report, verify
from consumers.engine.sink_group import SinkGroup
from core.batch import KAFKA, KINESIS, Batch, Coordinates, Partition
from core.clock import SystemClock
from core.errors import PositionLost, StalePosition, TopicRecreated
from core.observer import Unobserved
from core.protocols import Sink
from sinks.delta.incarnation import folder_of
from sinks.delta.sink import DeltaSink
from sinks.delta.target import Tables
from sinks.parquet.sink import ParquetSink
from sinks.storage.store import FolderStore
from tests.support.batches import RecordLog, delta_target
from tests.support.places import TESTS

LAKES = TESTS / "lakes"
FIRST_ID, SECOND_ID = 2**61 + 1, 2**61 + 2


@dataclass(frozen=True)
class Life:
    """One life of a lake: how it was written, and how many records of each partition it has."""

    lake: str
    coordinates: Coordinates
    incarnation: str
    epoch: int | None
    records: int

    @property
    def app(self) -> str:
        """The name of its positions."""
        return f"pinpip/pin/{self.incarnation}"

    @property
    def partitions(self) -> list[Partition]:
        """Both of them."""
        return [RecordLog(self.coordinates).partition(index) for index in (0, 1)]

    def batch(self, first: int, last: int, epoch: int | None) -> Batch:
        """Return records [first, last) of both partitions, read from the topic `epoch`."""
        batch = RecordLog(self.coordinates).batch({0: (first, last), 1: (first, last)})
        spans = {p: replace(s, end=replace(s.end, epoch=epoch)) for p, s in batch.spans.items()}
        return replace(batch, spans=spans)


KAFKA_FIRST = Life("0.1.0/kafka", KAFKA, "1", FIRST_ID, 60)
KAFKA_SECOND = Life("0.1.0/kafka", KAFKA, "2", SECOND_ID, 30)
KINESIS_ONLY = Life("0.1.0/kinesis", KINESIS, "1", None, 40)
LIVES = [KAFKA_FIRST, KAFKA_SECOND, KINESIS_ONLY]
NEWEST = [KAFKA_SECOND, KINESIS_ONLY]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Copy all lakes."""
    return Path(shutil.copytree(LAKES, tmp_path / "lakes"))


def sinks(root: Path, life: Life) -> list[Sink]:
    """Make the sinks with which today's consumer continues this incarnation of the lake."""
    lake, folder = root / life.lake, folder_of(life.incarnation)
    made: list[Sink] = []
    for stage in ("clean", "rejected"):
        target = delta_target(str(lake / stage), dict, life.coordinates, stage)
        own = replace(target, app=life.app, folder=folder)
        made.append(DeltaSink(stage, own, FolderStore(lake / stage), SystemClock()))
    chain = FolderStore(lake / "archive" / folder)
    return [*made, ParquetSink(chain, "raw", life.coordinates, "archive")]


def consume(root: Path, life: Life, batches: Sequence[Batch]) -> list[int]:
    """Start, write and stop as the loop does; how many records of each partition were held."""
    clock = SystemClock()
    with ExitStack() as ends:
        threads = ends.enter_context(ThreadPoolExecutor(8))
        group = SinkGroup(sinks(root, life), clock, lambda _: 0.0, Unobserved(clock), threads)
        ends.callback(lambda: group.close().result())
        found = group.known(life.partitions)
        for batch in batches:
            group.put(batch).result()
    log = RecordLog(life.coordinates)
    return [log.count(found[partition].start) for partition in life.partitions]


def proof(root: Path, life: Life) -> Report:
    """Run verify on this incarnation."""
    lake, folder = root / life.lake, folder_of(life.incarnation)
    clean, rejected = str(lake / "clean"), str(lake / "rejected")
    tables = Tables(clean, rejected, dict, life.coordinates, life.app, folder)
    chain = Archive(FolderStore(lake / "archive" / folder), "raw", life.coordinates)
    return verify(tables, [chain])


def counted(report: Report) -> list[tuple[int, int]]:
    """Clean and quarantined rows of each partition."""
    return [(tally.clean, tally.quarantined) for tally in report.tallies]


def shares(records: int) -> tuple[int, int]:
    """Every third record is bad."""
    bad = (records + 2) // 3
    return records - bad, bad


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.app + "/" + life.lake)
def test_each_life_of_an_old_lake_is_proven(root: Path, life: Life) -> None:
    report = proof(root, life)
    assert report.findings == ()
    assert counted(report) == [shares(life.records)] * 2
    assert [chain.records for chain in report.chains] == [life.records] * 2


@pytest.mark.parametrize("epoch", [True, False], ids=["same id", "id unknown"])
@pytest.mark.parametrize("life", NEWEST, ids=lambda life: life.lake)
def test_an_old_lake_is_continued_where_it_ended(root: Path, life: Life, *, epoch: bool) -> None:
    found = life.epoch if epoch else None
    end = life.records
    news = [life.batch(end - 10, end + 10, found), life.batch(end + 10, end + 20, found)]
    assert consume(root, life, news) == [end, end]
    assert consume(root, life, []) == [end + 20, end + 20]
    report = proof(root, life)
    assert report.findings == ()
    assert counted(report) == [shares(end + 20)] * 2
    assert [chain.records for chain in report.chains] == [end + 20] * 2


def test_a_stream_without_a_known_identity_is_given_one(root: Path) -> None:
    end = KINESIS_ONLY.records
    consume(root, KINESIS_ONLY, [KINESIS_ONLY.batch(end, end + 10, FIRST_ID)])
    with pytest.raises(TopicRecreated):
        consume(root, KINESIS_ONLY, [KINESIS_ONLY.batch(end + 10, end + 20, SECOND_ID)])


def test_an_old_lake_refuses_another_topic(root: Path) -> None:
    with pytest.raises(TopicRecreated):
        consume(root, KAFKA_SECOND, [KAFKA_SECOND.batch(30, 40, FIRST_ID)])


def test_an_older_consumer_of_an_old_lake_stays_fenced(root: Path) -> None:
    zombie, *_ = sinks(root, KAFKA_SECOND)
    zombie.positions(KAFKA_SECOND.partitions)
    consume(root, KAFKA_SECOND, [KAFKA_SECOND.batch(30, 40, SECOND_ID)])
    with pytest.raises(StalePosition):
        zombie.write(KAFKA_SECOND.batch(30, 40, SECOND_ID))


def test_a_third_life_of_an_old_lake_is_only_begun_on_purpose(root: Path) -> None:
    third = Life("0.1.0/kafka", KAFKA, "3", None, 0)
    with pytest.raises(PositionLost, match="of another incarnation"):
        consume(root, third, [])
