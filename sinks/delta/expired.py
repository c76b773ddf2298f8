"""What expired unread in a table's partitions: a total that outlives the ledger."""

from collections.abc import Iterator

from deltalake import Transaction

from sinks.delta import transactions
from sinks.delta.progress import Due
from sinks.delta.transactions import Lookup


def written(lookup: Lookup, app: str, due: Due) -> Iterator[Transaction]:
    """The actions that add to the totals what expired by the ranges of `due`."""
    more = {r.of: r.expired for r in due.ranges if r.expired}
    for partition, count in more.items():
        gap = due.gaps[partition]
        yield from transactions.write_expired(lookup, app, partition, count, gap, due.now_ms)
