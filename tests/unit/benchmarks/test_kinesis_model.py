"""The model of Kinesis answers pinpip's consumer, and limits each shard as AWS does."""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from benchmarks.models.process import Model, running
from benchmarks.models.stream import Layout, Limits, Shard
from benchmarks.topic import pins
from consumers.kinesis.source import KinesisSource
from core.batch import VALUE
from core.clock import SystemClock
from tests.support.aws import TestAws

STREAM = "pin"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with running("kinesis", tmp_path_factory.mktemp("model")) as started:
        yield started


@pytest.fixture
def kinesis(model: Model) -> Any:
    return TestAws(model.section["endpoint_url"]).client("kinesis")


def create(model: Model, **layout: Any) -> None:
    model.request("POST", "/-/stream", Layout(name=STREAM, **layout).model_dump_json())


def iterator(kinesis: Any, shard: int = 0, **where: Any) -> str:
    name = f"shardId-{shard:012d}"
    found: str = kinesis.get_shard_iterator(StreamName=STREAM, ShardId=name, **where)[
        "ShardIterator"
    ]
    return found


class Assigning:
    """Seeks every shard to its first record."""

    def __init__(self, source: KinesisSource) -> None:
        self._source = source

    def assigned(self, partitions: Any) -> None:
        self._source.seek(dict.fromkeys(partitions))

    def revoked(self, partitions: Any) -> None:
        raise AssertionError(partitions)


def test_our_source_reads_every_record_once_in_order(model: Model, kinesis: Any) -> None:
    create(model, shards=2, records=300)
    source = KinesisSource(kinesis, STREAM, clock=SystemClock())
    source.open(Assigning(source))
    found: dict[str, list[bytes]] = {}
    while sum(map(len, found.values())) < 600:
        records = source.poll(5.0)
        assert records is not None
        for shard, value in records.frame.select("_shard", VALUE).rows():
            found.setdefault(shard, []).append(value)
    source.close()
    half = len(pins()) // 2
    assert found == {
        "shardId-000000000000": pins()[:300],
        "shardId-000000000001": pins()[half : half + 300],
    }


def test_an_iterator_begins_where_it_is_told(model: Model, kinesis: Any) -> None:
    create(model, shards=1, records=10)
    first = kinesis.get_records(ShardIterator=iterator(kinesis, ShardIteratorType="TRIM_HORIZON"))
    numbers = [record["SequenceNumber"] for record in first["Records"]]
    assert len(numbers) == 10
    assert first["MillisBehindLatest"] == 0
    for kind, left in (("AT_SEQUENCE_NUMBER", 4), ("AFTER_SEQUENCE_NUMBER", 3)):
        at = iterator(kinesis, ShardIteratorType=kind, StartingSequenceNumber=numbers[6])
        records = kinesis.get_records(ShardIterator=at)["Records"]
        assert [record["SequenceNumber"] for record in records] == numbers[-left:]
    latest = iterator(kinesis, ShardIteratorType="LATEST")
    assert kinesis.get_records(ShardIterator=latest)["Records"] == []


def test_a_shard_refuses_the_sixth_call_of_a_second(model: Model, kinesis: Any) -> None:
    limits = Limits()
    assert [limits.refuse(10 + n / 10) for n in range(6)] == [False] * 5 + [True]
    assert not limits.refuse(11.05)
    create(model, shards=1, records=10)
    at = iterator(kinesis, ShardIteratorType="LATEST")
    impatient = TestAws(model.section["endpoint_url"]).client(
        "kinesis",
        retries={"total_max_attempts": 1},  # five attempts with pauses wait a refusal out
    )

    def ask_often() -> None:
        for _ in range(100):  # also on a busy machine six of them are within a second
            impatient.get_records(ShardIterator=at)

    with pytest.raises(ClientError, match="ProvisionedThroughputExceededException"):
        ask_often()


def test_a_shard_gives_two_megabytes_a_second() -> None:
    limits = Limits()
    limits.spend(7_000_000, 10.0)
    assert limits.refuse(12.4)
    assert not limits.refuse(12.6)


def test_records_of_a_load_arrive_at_its_rate() -> None:
    shard = Shard([b"MQ=="], created=100.0, filled=5, rate=10.0, began=100.0)
    assert shard.end(100.0) == 5
    assert shard.end(101.05) == 15
    assert shard.arrival(15) == pytest.approx(101.1)
    assert shard.at(100.75, 102.0) == 12
    shard.until = 101.05
    assert shard.end(200.0) == 15


def test_a_stream_of_another_name_does_not_exist(model: Model, kinesis: Any) -> None:
    create(model, shards=3)
    assert len(kinesis.list_shards(StreamName=STREAM)["Shards"]) == 3
    summary = kinesis.describe_stream_summary(StreamName=STREAM)["StreamDescriptionSummary"]
    assert summary["OpenShardCount"] == 3
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        kinesis.list_shards(StreamName="other")
