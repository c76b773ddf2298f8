"""Kinesis for the source contract."""

from collections.abc import Sequence

from consumers.kinesis.source import KinesisSource
from core.batch import KINESIS, Partition
from core.clock import SystemClock
from core.protocols import Source
from tests.support.aws import TestAws

_HASHES = 2**128


class KinesisBackend:
    """A stream of `shards` shards on moto's server."""

    coordinates = KINESIS

    def __init__(self, aws: TestAws, shards: int = 2) -> None:
        self._client = aws.client("kinesis")
        self._stream = aws.stream(shards)
        self._shards = shards
        self.partitions = [Partition(self._stream, f"shardId-{n:012d}") for n in range(shards)]

    def fill(self, values: Sequence[bytes | None]) -> None:
        """Store `values` round the shards."""
        for start in range(0, len(values), 500):
            entries = [
                {"Data": value, "PartitionKey": str(n), "ExplicitHashKey": self._hash(n)}
                for n, value in enumerate(values[start : start + 500], start)
            ]
            answer = self._client.put_records(StreamName=self._stream, Records=entries)
            assert answer["FailedRecordCount"] == 0

    def _hash(self, n: int) -> str:
        return str(_HASHES // self._shards * (n % self._shards) + 1)

    def source(self) -> Source:
        """Make a source of the stream, from its first record."""
        return KinesisSource(self._client, self._stream, clock=SystemClock())
