"""The log of a Delta table, written and followed entry by entry.

Entry n is `_delta_log/<n, 20 digits>.json`, created if absent: whoever creates it owns version n,
and all others see what it says. So a commit costs the same however old the table is and however
many files it has; delta-rs, which loads the list of all files first, only opens tables and writes
checkpoints. `_last_checkpoint` is a hint at the newest checkpoint: quick when it is right, never
needed. Source: Delta transaction protocol, "Delta Log Entries", "Actions", "Last Checkpoint File".
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import structlog
from deltalake import Transaction
from deltalake.transaction import AddAction

from core import __version__
from core.errors import SinkError, StalePosition, TransientError
from sinks.delta import ledger, listing
from sinks.delta.commit_log import Action, Committed, Conflict, Hint, Version
from sinks.delta.positions import Lookup
from sinks.storage.protocol import Store

HINT = "_delta_log/_last_checkpoint"
CHECKPOINT_EVERY = 100  # commits at least
CHECKPOINT_SHARE = (
    32  # of what the last checkpoint lists: all of them together stay within 33 times the last
)
ENGINE = f"pinpip/{__version__}"
_log = structlog.get_logger()


class DeltaLog:
    """A `CommitLog` of our own: `started` returns the version of each app id at `version`."""

    def __init__(self, store: Store, version: int, started: Lookup) -> None:
        self.version = version
        self._store = store
        self._started = started
        self._written: dict[str, int] = {}
        self._checkpoint: Hint | None = None  # the newest, as of the last append
        self._suspected: Hint | None = None

    def txn_version(self, app_id: str) -> int | None:
        """Return the version that was written since the start, else that of the start."""
        found = self._written.get(app_id)
        return self._started(app_id) if found is None else found

    def is_here(self) -> bool:
        """Return whether there is the version's entry, or a checkpoint of any kind."""
        if self._store.metadata(name_of(self.version)) is not None:
            return True
        return bool(self._store.list(name_of(self.version, "checkpoint")))

    def append(self, entry: Version) -> Committed | Conflict:
        """Create the next entry; when its name is taken, read that entry and follow it.

        The next version may have been there before, and been cleaned up behind a checkpoint. Only
        after the put can that be ruled out: a writer may sleep before it puts, and a clean-up
        removes entries in any order.
        """
        name, actions = name_of(self.version + 1), list(_actions(entry))
        body = _encode(actions)
        landed = None if self._store.put_new(name, body, {}) else self._landed(name, body)
        if landed is None and (self._is_superseded() or not self.is_here()):
            raise StalePosition(
                f"the log of {self._store.uri} was cleaned up about version {self.version}"
            )
        self._follow(actions if landed is None else landed)
        return Committed(self._checkpoint) if landed is None else Conflict(_alters(landed))

    def _follow(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if "txn" in action:
                self._written[action["txn"]["appId"]] = action["txn"]["version"]
        self.version += 1

    def _is_superseded(self) -> bool:
        """Return whether there is a later checkpoint: what is before it may be gone."""
        found = read_hint(self._store)
        if found != self._checkpoint and found is not None:
            found = self._proven(found)
        self._checkpoint = found
        return found is not None and found.version > self.version

    def _proven(self, found: Hint) -> Hint | None:
        """Return the hint if its checkpoint is there, else what a listing says."""
        if listing.at(self._store, found.version):
            return found
        if found != self._suspected:
            _log.warning("last_checkpoint_is_gone", table=self._store.uri, version=found.version)
        self._suspected = found
        later = listing.beyond(self._store, self.version)
        return None if later is None else Hint(later, 0)

    def _landed(self, name: str, body: bytes) -> Sequence[Action] | None:
        """Return what another writer put at `name`; None when an earlier try of ours put `body`."""
        found = self._store.find(name)
        if found is None:
            raise TransientError(f"{self._store.uri}/{name} is taken, but nothing is there yet")
        if found == body:
            return None
        try:
            return [json.loads(line) for line in found.splitlines() if line.strip()]
        except ValueError as error:
            raise damaged_entry(self._store.uri, name, error) from error


def damaged_entry(table: str, name: str, error: ValueError) -> SinkError:
    """Return the error for an entry of a log that is no JSON."""
    return SinkError(
        f"the log of table {table} is damaged: {name}: {error}",
        "restore that file from a backup; no row was read or written",
    )


def read_hint(store: Store) -> Hint | None:
    """Return what the hint says; None when it is absent, damaged or cut off by a crash."""
    try:
        found = json.loads(store.find(HINT) or b"")
        return Hint(int(found["version"]), int(found.get("size") or 0))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def begin(store: Store, actions: Sequence[Action]) -> None:
    """Make `actions` the first entry of a table, unless the table has one by now."""
    store.put_new(name_of(0), _encode(actions), {})


def is_checkpoint_due(version: int, last: Hint | None) -> bool:
    """Return whether the writer of `version` is to write a checkpoint.

    The distance grows with the table: a checkpoint lists all files, so that with a fixed one all
    of them together would grow with the square of the table's age. Each version has one writer;
    where that one fails, the writer of every hundredth version later tries again.
    """
    before, size = last if last is not None and last.version < version else (0, 0)
    late = version - before - max(CHECKPOINT_EVERY, size // CHECKPOINT_SHARE)
    return late >= 0 and late % CHECKPOINT_EVERY == 0


def name_of(version: int, kind: str = "json") -> str:
    """Return the name of a version's entry, or what the names of its checkpoints begin with."""
    return f"_delta_log/{version:020d}.{kind}"


def add(file: AddAction) -> Action:
    """Return the action that adds a data file; its path is relative, and escaped as in a URI."""
    return {
        "add": {
            "path": quote(file.path, safe="/="),
            "partitionValues": dict(file.partition_values),
            "size": file.size,
            "modificationTime": file.modification_time,
            "dataChange": file.data_change,
            "stats": file.stats,
        }
    }


def _actions(entry: Version) -> Iterator[Action]:
    yield {"commitInfo": _commit_info(entry)}
    yield from entry.metadata
    yield from map(_txn, entry.txns)
    yield from map(add, entry.files)


def _commit_info(entry: Version) -> dict[str, Any]:
    """Return what a commit says of itself; `txnId` makes the entry unique."""
    return {
        "timestamp": entry.now_ms,
        "operation": "WRITE",
        "operationParameters": {"mode": "Append", "partitionBy": "[]"},
        "isBlindAppend": True,
        "engineInfo": ENGINE,
        "txnId": str(uuid4()),
        ledger.KEY: entry.ledger,
    }


def _txn(transaction: Transaction) -> Action:
    return {
        "txn": {
            "appId": transaction.app_id,
            "version": transaction.version,
            "lastUpdated": transaction.last_updated,
        }
    }


def _alters(actions: Sequence[Action]) -> bool:
    """Return whether the schema, the properties or the protocol change."""
    return any("metaData" in action or "protocol" in action for action in actions)


def _encode(actions: Sequence[Action]) -> bytes:
    lines = (json.dumps(action, separators=(",", ":"), ensure_ascii=False) for action in actions)
    return "\n".join([*lines, ""]).encode()
