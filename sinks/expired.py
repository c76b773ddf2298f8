"""What expired unread in a table's partitions: a total that outlives the ledger."""

from collections.abc import Sequence

from sinks import deltalog, table, transactions
from sinks.deltalog import Action
from sinks.ledger import Range
from sinks.target import Target


def totals(target: Target, ranges: Sequence[Range], now_ms: int) -> list[Action]:
    """The totals of what expired, with what `ranges` add to them, as actions of the same commit.

    A total moves only with its position, so it is that of any version where this one is held.
    """
    more = {r.of: r.expired for r in ranges if r.expired}
    newest = table.find(target.uri, target.options) if more else None
    if newest is None:
        return []
    lookup, app = newest.transaction_version, target.app
    with table.sorted_errors(target.uri):
        return [
            deltalog.txn(transactions.write_expired(lookup, app, p, n, now_ms))
            for p, n in more.items()
        ]
