"""Reading the fake stream with a fake clock."""

from typing import Any

from consumers.kinesis.source import KinesisSource
from core.batch import Partition, Records
from core.clock import Clock
from tests.contracts.source_contract import Recorder, opened, values
from tests.support.fake_kinesis import STREAM, FakeKinesis

A, B = "shardId-000000000000", "shardId-000000000001"


def source_of(kinesis: FakeKinesis, **options: Any) -> KinesisSource:
    """Make a source of the fake stream."""
    return KinesisSource(kinesis.client, STREAM, clock=kinesis.clock, **options)


def of(shard: str) -> Partition:
    """Return the partition of a shard."""
    return Partition(STREAM, shard)


def drain(source: KinesisSource, seconds: float = 40.0) -> list[Records]:
    """Poll for `seconds` of the fake clock; return what came."""
    clock: Clock = source._clock
    deadline, parts = clock.monotonic() + seconds, list[Records]()
    while clock.monotonic() < deadline and not source.exhausted:
        part = source.poll(1.0)
        parts += [part] if part is not None else []
    return parts


def everything(kinesis: FakeKinesis, listener: Recorder, **options: Any) -> list[Records]:
    """All that a source gives that starts at the listener's positions."""
    with opened(source_of(kinesis, **options), listener) as source:
        return drain(source)


def flat(parts: list[Records]) -> list[bytes | None]:
    """Return the values of `parts` in order."""
    return [value for part in parts for value in values(part)]
