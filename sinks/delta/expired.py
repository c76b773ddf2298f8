"""What expired unread in a table's partitions: a total that outlives the ledger."""

from sinks.delta import deltalog, table, transactions
from sinks.delta.deltalog import Action
from sinks.delta.progress import Due
from sinks.delta.target import Target


def totals(target: Target, due: Due) -> list[Action]:
    """The totals of what expired, with what `due` adds to them, as actions of the same commit.

    A total moves only with its position, so it is that of any version where this one is held.
    """
    more = {r.of: r.expired for r in due.ranges if r.expired}
    newest = table.find(target.uri, target.options) if more else None
    if newest is None:
        return []
    lookup, app, now_ms = newest.transaction_version, target.app, due.now_ms
    with table.sorted_errors(target.uri):
        return [
            deltalog.txn(told)
            for p, n in more.items()
            for told in transactions.write_expired(lookup, app, p, n, due.gaps[p], now_ms)
        ]
