"""The Kinesis source on moto: boto3 as it is."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from consumers.kinesis.calls import CLIENT_CONFIG
from consumers.kinesis.source import KinesisSource
from consumers.window import Window
from core.batch import KINESIS
from core.clock import SystemClock
from core.errors import SourceError
from tests.contracts.source_contract import Recorder, opened, poll_until, rows
from tests.support.fake_kinesis import STREAM
from tests.support.kinesis_reading import A, B, flat, of

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


@pytest.fixture
def moto_client() -> Iterator["KinesisClient"]:
    with mock_aws():
        client = boto3.client("kinesis", "us-east-1", config=CLIENT_CONFIG)
        client.create_stream(StreamName=STREAM, ShardCount=1)
        yield client
        client.close()


def inject(client: "KinesisClient", operation: str, codes: list[str]) -> None:
    """Answer the next calls of `operation` with these error codes."""

    def answer(**_: Any) -> Any:
        if not codes:
            return None
        error = {"Error": {"Code": codes.pop(0), "Message": "injected"}}
        response = type("Response", (), {"status_code": 400})()
        return response, error | {"ResponseMetadata": {"HTTPStatusCode": 400}}

    client.meta.events.register(f"before-call.kinesis.{operation}", answer)


def put(client: "KinesisClient", *data: bytes) -> None:
    for n, value in enumerate(data):
        client.put_record(StreamName=STREAM, Data=value, PartitionKey=f"key {n}")


def test_boto_errors_are_understood_as_boto_raises_them(moto_client: "KinesisClient") -> None:
    put(moto_client, b"1", b"2")
    codes = ["ExpiredIteratorException", "ProvisionedThroughputExceededException"]
    inject(moto_client, "GetRecords", codes)
    with opened(KinesisSource(moto_client, STREAM, clock=SystemClock()), Recorder()) as source:
        parts = poll_until(source, lambda parts: rows(parts) >= 2)
    assert flat(parts) == [b"1", b"2"]
    assert codes == []


def test_the_boto_client_does_not_retry_by_itself(moto_client: "KinesisClient") -> None:
    codes = ["ProvisionedThroughputExceededException"] * 2
    inject(moto_client, "ListShards", codes)
    with pytest.raises(moto_client.exceptions.ClientError):
        moto_client.list_shards(StreamName=STREAM)
    assert len(codes) == 1


def test_a_missing_stream_is_named_with_its_region(moto_client: "KinesisClient") -> None:
    with closing(KinesisSource(moto_client, "nowhere", clock=SystemClock())) as source:
        with pytest.raises(SourceError, match="stream nowhere in us-east-1") as caught:
            source.open(Recorder())
        assert "create the stream" in caught.value.hint


def test_an_unreachable_endpoint_is_said_at_once() -> None:
    client = boto3.client(
        "kinesis",
        "us-east-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="x",
        aws_secret_access_key="x",  # noqa: S106  # nobody listens there
        config=CLIENT_CONFIG,
    )
    with closing(KinesisSource(client, STREAM, clock=SystemClock())) as source:
        with pytest.raises(SourceError, match="no answer") as caught:
            source.open(Recorder())
        assert "aws.endpoint_url" in caught.value.hint
    client.close()


def test_children_of_a_split_on_moto_are_announced_once_it_ends(
    moto_client: "KinesisClient",
) -> None:
    listener = Recorder()
    with opened(KinesisSource(moto_client, STREAM, clock=SystemClock()), listener) as source:
        moto_client.split_shard(StreamName=STREAM, ShardToSplit=A, NewStartingHashKey=str(2**127))
        assert source.poll(0.1) is None
        assert listener.held == {of(A)}
        end_closed_shards(moto_client)
        poll_until(source, lambda _: len(listener.held) > 1)
    assert listener.held == {of(A), of(B), of("shardId-000000000002")}


def end_closed_shards(client: "KinesisClient") -> None:
    """End the shard in the next response: moto never ends a closed shard by itself."""

    def end(parsed: dict[str, Any], **_: Any) -> None:
        parsed["NextShardIterator"] = None
        client.meta.events.unregister("after-call.kinesis.GetRecords", end)

    client.meta.events.register("after-call.kinesis.GetRecords", end)


def test_moto_replays_a_window_of_time(moto_client: "KinesisClient") -> None:
    put(moto_client, b"1", b"2")
    clock = SystemClock()
    window = Window(since=clock.now() - timedelta(hours=1))
    with opened(
        KinesisSource(moto_client, STREAM, clock=clock, window=window), Recorder()
    ) as source:
        parts = poll_until(source, lambda _: source.exhausted)
    assert flat(parts) == [b"1", b"2"]
    assert parts[0].coordinates is KINESIS
