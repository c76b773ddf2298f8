"""The shards of a stream, and whose turn it is to be read.

A reshard closes shards and opens their children. A child's records come after those of its
parents (two after a merge), so a child waits until they are drained.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from core.batch import Partition

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

Ownership = Callable[[Collection[Partition]], Collection[Partition]]


def every_shard(shards: Collection[Partition]) -> Collection[Partition]:
    """Own every shard: this process reads the stream alone."""
    return shards


@dataclass(frozen=True)
class Shard:
    """One shard; `closed` means that it takes no more records.

    `padded`: its sequence numbers are written with leading zeros.
    """

    id: str
    parents: frozenset[str] = frozenset()
    closed: bool = False
    padded: bool = False


def list_shards(client: "KinesisClient", stream: str) -> dict[str, Shard]:
    """All shards that still hold records or take them, by id; botocore's errors pass through."""
    return listed_at(client, stream)[0]


def listed_at(client: "KinesisClient", stream: str) -> tuple[dict[str, Shard], datetime | None]:
    """As `list_shards`, and the second of the first answer by the clock of Kinesis, if it tells."""
    found: dict[str, Shard] = {}
    page: Mapping[str, Any] = client.list_shards(StreamName=stream)
    at = _told_at(page)
    while True:
        found |= {entry["ShardId"]: _listed(entry) for entry in page["Shards"]}
        if not page.get("NextToken"):
            return found, at
        page = client.list_shards(NextToken=page["NextToken"])


def _told_at(answer: Mapping[str, Any]) -> datetime | None:
    told = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        at = parsedate_to_datetime(told)
    except ValueError:
        return None
    return at if at.tzinfo else None


def _listed(entry: Mapping[str, Any]) -> Shard:
    parents = {entry.get("ParentShardId"), entry.get("AdjacentParentShardId")} - {None}
    numbers = entry["SequenceNumberRange"]
    closed = "EndingSequenceNumber" in numbers
    first = numbers.get("StartingSequenceNumber", "")
    padded = first != "0" and first.startswith("0")
    return Shard(entry["ShardId"], frozenset(map(str, parents)), closed, padded)


def children(entries: Iterable[Mapping[str, Any]]) -> dict[str, Shard]:
    """Return the shards in GetRecords' `ChildShards`, by id."""
    return {e["ShardId"]: Shard(e["ShardId"], frozenset(e["ParentShards"])) for e in entries}


def readable(shards: Mapping[str, Shard], drained: Collection[str]) -> list[Shard]:
    """Return the shards that may be read: not drained, and all their parents are.

    A parent that is not listed has expired: nothing of it is left to wait for.
    """
    waiting = shards.keys() - set(drained)
    return [shards[name] for name in sorted(waiting) if not shards[name].parents & waiting]
