"""What the entries of a table's log say in their ledgers.

So a restart continues the limit on rejects, and a table without an owner is known by its ledger.
delta-rs's own history is empty for a folder with `#` or `?` in its name, and has no versions.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import NamedTuple

import structlog
from deltalake import DeltaTable

from core import paths
from core.batch import Partition, Rejects
from core.protocols import Options
from sinks.delta import ledger, listing, txns
from sinks.delta.ledger import Entry
from sinks.delta.log import damaged_entry, name_of
from sinks.delta.table import sorted_errors
from sinks.delta.target import DeltaTarget
from sinks.storage.protocol import Store
from sinks.storage.store import of_table

_KIND = "commitInfo"
_SUFFIX = ".json"
MAX_COMMITS = 64  # a partition without one among them has been idle for long
_AT_ONCE = 16
_log = structlog.get_logger()


class LedgerCommit(NamedTuple):
    """One commit that carries an entry, as text."""

    version: int
    at: datetime
    text: str


def commits(table: DeltaTable, options: Options, most: int | None = None) -> list[LedgerCommit]:
    """Return the commits up to `table`'s version that carry an entry, newest first.

    Looks at the newest `most` commits. Raises SinkError when the log is damaged.
    """
    place = paths.of_delta_rs(table.table_uri)
    with sorted_errors(place):
        there = listing.listed(of_table(place, options)).entries
        own = [version for version in there if version <= table.version()]
        uris = [f"{place}/{name_of(version)}" for version in own[-(most or len(own)) :]]
        rows = txns.lines(uris, _KIND, options()).collect().rows() if uris else []
    return [*_told(reversed(rows))]


def _told(rows: Iterable[tuple[str, str]]) -> Iterator[LedgerCommit]:
    """Yield what lines say, each with the URI of its entry; SinkError for a damaged one."""
    for line, uri in rows:
        try:
            info = json.loads(line).get(_KIND, {})
        except ValueError as error:
            table, _, name = uri.rpartition(f"/{listing.FOLDER}")
            raise damaged_entry(table, f"{listing.FOLDER}{name}", error) from error
        if ledger.KEY in info:
            version = int(uri.rpartition("/")[2].removesuffix(_SUFFIX))
            at = datetime.fromtimestamp(info["timestamp"] / 1000, UTC)
            yield LedgerCommit(version, at, info[ledger.KEY])


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


def decoded(text: str) -> Iterator[Entry]:
    """Yield the entry in `text`; nothing for a damaged one."""
    with suppress(ValueError):
        yield ledger.decode(text)


def ledgered(body: bytes | None) -> Iterator[Entry]:
    """Yield the ledger of one entry of the log; nothing for another program's or a damaged one."""
    try:
        lines = filter(None, (body or b"").splitlines())
        told = (json.loads(line).get("commitInfo", {}) for line in lines)
        yield from [ledger.decode(info[ledger.KEY]) for info in told if ledger.KEY in info]
    except (ValueError, AttributeError, TypeError):
        return
