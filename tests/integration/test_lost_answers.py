"""Answers that get lost between the gateway and its clients: ours stores each record once."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import pytest
import requests

from producers.client import GatewayClient
from producers.delivery import DeliveryReport, DeliveryStatus, ProducerRecord, Retry
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.clock import ManualClock
from tests.support.cuts import Cut, Rule, cutting
from tests.support.gateways import JSON_FORMAT, everything, running

REQUESTS = 150
FEWER = 50
LARGEST = 60
Send = Callable[[Sequence[ProducerRecord]], list[DeliveryReport]]


@pytest.fixture
def rule() -> Rule:
    return Rule(random.Random(6))


@pytest.fixture
def gateway(broker: Broker, aws: TestAws) -> Iterator[str]:
    with running(broker.properties, kinesis=aws.client("kinesis")) as url:
        yield url


def batches(requests: int = REQUESTS) -> Iterator[list[ProducerRecord]]:
    """Batches of every size, of numbered records."""
    rng = random.Random(1)
    first = 0
    for _ in range(requests):
        size = rng.choice([1, rng.randint(1, LARGEST)])
        yield [
            ProducerRecord(n, {"n": n, "text": "x" * (n % 100)}) for n in range(first, first + size)
        ]
        first += size


def client(url: str) -> GatewayClient:
    """Its pauses take no time, so a repeat meets its first request still running."""
    return GatewayClient(url, retry=Retry(5, ManualClock(), random.Random(1), seconds=0))


def sent(send: Send) -> dict[int, DeliveryReport]:
    """Return the result of each record; every one must be stored."""
    told = {
        r.key: result for batch in batches() for r, result in zip(batch, send(batch), strict=True)
    }
    assert Counter(result.status for result in told.values()) == {DeliveryStatus.STORED: len(told)}
    return told


@pytest.mark.real_broker
def test_each_record_is_on_the_topic_once_where_it_was_said_to_be(
    broker: Broker, gateway: str, rule: Rule
) -> None:
    topic = broker.create_topic()
    with cutting(gateway, rule) as url, client(url) as ours:
        told = sent(lambda batch: ours.send_kafka(topic, batch))

    assert {(str(r.partition), r.offset): r.key for r in everything(broker.bootstrap, topic)} == {
        (result.partition, result.position): b"%d" % key for key, result in told.items()
    }
    assert min(rule.met[cut] for cut in Cut) > 10


def test_each_record_is_on_the_stream_once_where_it_was_said_to_be(
    aws: TestAws, gateway: str, rule: Rule
) -> None:
    stream = aws.stream(shards=2)
    with cutting(gateway, rule) as url, client(url) as ours:
        told = sent(lambda batch: ours.send_kinesis(stream, batch))

    held = [
        (shard, record["SequenceNumber"], record["PartitionKey"])
        for shard, record in on_stream(aws, stream)
    ]
    said = [(result.partition, result.position, str(key)) for key, result in told.items()]
    assert sorted(held) == sorted(said)
    assert min(rule.met[cut] for cut in Cut) > 10


@pytest.mark.real_broker
def test_a_client_that_just_repeats_stores_records_of_a_topic_twice(
    broker: Broker, gateway: str, rule: Rule
) -> None:
    topic = broker.create_topic()
    with cutting(gateway, rule) as url, requests.Session() as session:
        for batch in batches(FEWER):
            body = {"records": [{"key": r.key, "value": r.value} for r in batch]}
            repeated(partial(session.post, f"{url}/topics/{topic}", json=body, headers=JSON_FORMAT))

    assert_some_twice([r.key for r in everything(broker.bootstrap, topic)])


def test_a_client_that_just_repeats_stores_records_of_a_stream_twice(
    aws: TestAws, gateway: str, rule: Rule
) -> None:
    stream = aws.stream(shards=2)
    with cutting(gateway, rule) as url, requests.Session() as session:
        for batch in batches(FEWER):
            body = {"records": [{"data": r.value, "partition-key": str(r.key)} for r in batch]}
            repeated(partial(session.put, f"{url}/streams/{stream}/records", json=body))

    assert_some_twice([record["PartitionKey"] for _, record in on_stream(aws, stream)])


def repeated(request: Callable[..., requests.Response]) -> None:
    """Make a request without a key until a whole answer comes."""
    while True:
        with suppress(requests.RequestException):
            answer = request(timeout=30).json()
            assert {"offsets", "FailedRecordCount"} & set(answer)
            return


def assert_some_twice(keys: Sequence[object]) -> None:
    times = Counter(keys)
    assert len(times) == sum(map(len, batches(FEWER)))
    assert max(times.values()) > 1


def on_stream(aws: TestAws, stream: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each record with its shard."""
    kinesis = aws.client("kinesis")
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        place = {"StreamName": stream, "ShardId": shard["ShardId"]}
        at = kinesis.get_shard_iterator(**place, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        while records := (found := kinesis.get_records(ShardIterator=at))["Records"]:
            yield from ((shard["ShardId"], record) for record in records)
            at = found["NextShardIterator"]
