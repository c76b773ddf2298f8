"""How many of the last records were rejected, as a table's newest commits say it.

The limit on rejects would begin at nothing with every restart otherwise.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from core.batch import Partition, Rejects
from sinks.delta import deltalog
from sinks.delta.ledger import Entry
from sinks.delta.settled import ledgered
from sinks.storage.protocol import Store

LOOKED_AT = 64  # commits at most: a partition that is in none of them was quiet for long
_AT_ONCE = 16


def newest(
    store: Store, version: int, app: str, rules: str, partitions: Collection[Partition]
) -> list[Rejects]:
    """The windows that the newest commits of `partitions` up to `version` ended with, oldest first.

    Ends at a commit under other `rules`: what they rejected says nothing of these.
    """
    found: list[Rejects] = []
    left = set(partitions)
    for entry in entries(store, version):
        moved = {r.of for r in entry.ranges} & left if entry.app == app else set()
        if not moved:
            continue
        if entry.rules != rules or entry.window is None:
            break
        found.append(entry.window)
        left -= moved
        if not left:
            break
    return found[::-1]


def entries(store: Store, version: int) -> Iterator[Entry]:
    """The ledger's entries, newest first, as far as the log goes back."""
    versions = iter(range(version, max(-1, version - LOOKED_AT), -1))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while some := list(islice(versions, _AT_ONCE)):
            for body in pool.map(lambda n: store.find(deltalog.name_of(n)), some):
                if body is None:
                    return
                yield from ledgered(body)
