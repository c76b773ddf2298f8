"""What the newest entries of a table's log say in their ledgers.

So a restart continues the limit on rejects, and a table without an owner is known by its ledger.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, takewhile

import structlog

from core.batch import Partition, Rejects
from sinks.delta import ledger
from sinks.delta.ledger import Entry
from sinks.delta.log import name_of
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store

MAX_COMMITS = 64  # a partition without one among them has been idle for long
_AT_ONCE = 16
_log = structlog.get_logger()


def windows(
    store: Store, version: int, target: DeltaTarget, partitions: Collection[Partition]
) -> list[Rejects]:
    """Return the windows that the newest commits of `partitions` up to `version` ended with.

    Oldest first. Ends at a commit under other rules: what they rejected says nothing of these. A
    warning tells if that commit took other records.
    """
    found: list[Rejects] = []
    left = set(partitions)
    for entry in newest(store, version):
        moved = {r.of for r in entry.ranges} & left if entry.app == target.app else set()
        if not moved:
            continue
        if entry.rules != target.rules or entry.window is None:
            _note_change(target, entry)
            break
        found.append(entry.window)
        left -= moved
        if not left:
            break
    return found[::-1]


def _note_change(target: DeltaTarget, entry: Entry) -> None:
    if entry.rules is not None and entry.where != target.where:
        told = {"before": entry.where or "all", "now": target.where or "all"}
        _log.warning("where_changed", table=target.uri, **told)


def newest(store: Store, version: int) -> Iterator[Entry]:
    """Yield the ledger's entries up to `version`, newest first, as far as the log goes back."""
    versions = range(version, max(-1, version - MAX_COMMITS), -1)
    for body in takewhile(lambda found: found is not None, bodies(store, versions)):
        yield from ledgered(body)


def bodies(store: Store, versions: Iterable[int]) -> Iterator[bytes | None]:
    """Yield the log's entries of these versions, some at a time; None for one that is gone."""
    left = iter(versions)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while some := list(islice(left, _AT_ONCE)):
            yield from pool.map(lambda n: store.find(name_of(n)), some)


def ledgered(body: bytes | None) -> Iterator[Entry]:
    """Yield the ledger of one entry of the log; nothing for another program's or a damaged one."""
    try:
        lines = filter(None, (body or b"").splitlines())
        told = (json.loads(line).get("commitInfo", {}) for line in lines)
        yield from [ledger.decode(info[ledger.KEY]) for info in told if ledger.KEY in info]
    except (ValueError, AttributeError, TypeError):
        return
