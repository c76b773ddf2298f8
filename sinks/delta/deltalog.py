"""The log of a Delta table, written and followed entry by entry.

Entry n is `_delta_log/<n, 20 digits>.json`, created if absent: whoever creates it owns version n,
and all others see what landed. So a commit costs the same however old the table is and however
many files it has; delta-rs, which loads the list of all files first, only opens and makes tables
and writes checkpoints. Source: Delta transaction protocol, "Delta Log Entries" and "Actions".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import structlog
from deltalake import Transaction
from deltalake.transaction import AddAction

from core.errors import SinkError, StalePosition, TransientError
from sinks.delta import hint, listing
from sinks.delta.hint import Hint
from sinks.delta.transactions import Lookup
from sinks.storage.protocol import Store

Action = dict[str, Any]

_log = structlog.get_logger()


class Log:
    """A table at one version: what the `txn` actions up to it say of the ids that were learnt."""

    def __init__(self, store: Store, version: int) -> None:
        self.version = version
        self.checkpoint: Hint | None = None  # the newest, as of the last append
        self._doubted: Hint | None = None
        self._store = store
        self._held: dict[str, int | None] = {}

    def learning(self, lookup: Lookup) -> Lookup:
        """`lookup`, which must know the version of the start, with its answers kept here.

        What was learnt, or was written since, is answered from here.
        """

        def learn(app_id: str) -> int | None:
            if app_id not in self._held:
                self._held[app_id] = lookup(app_id)
            return self._held[app_id]

        return learn

    def transaction_version(self, app_id: str) -> int | None:
        """The version of an application id, None when it has none; KeyError when not learnt."""
        return self._held[app_id]

    def is_here(self) -> bool:
        """Whether the table still holds this version: its entry, or a checkpoint of any kind."""
        if self._store.metadata(name_of(self.version)) is not None:
            return True
        return bool(self._store.list(name_of(self.version, "checkpoint")))

    def append(self, entry: Sequence[Action]) -> Sequence[Action]:
        """Make `entry` the next version, and go there; what is there if another was first.

        Raises TransientError when the entry may be there or not: the positions tell. Raises
        StalePosition when the next version may have been there before, and was cleaned up behind
        a checkpoint: nobody reads what is put there. Only afterwards can that be ruled out, as a
        writer may sleep before it puts, and a clean-up removes entries in any order.
        """
        name, body = name_of(self.version + 1), _encode(entry)
        landed = entry if self._store.put_new(name, body, {}) else self._landed(name, entry, body)
        if landed is entry and (self._is_overtaken() or not self.is_here()):
            raise StalePosition(
                f"the log of {self._store.uri} was cleaned up about version {self.version}"
            )
        for action in landed:
            if "txn" in action:
                self._held[action["txn"]["appId"]] = action["txn"]["version"]
        self.version += 1
        return landed

    def _is_overtaken(self) -> bool:
        """Whether there is a checkpoint beyond this version; what is before it may be gone."""
        found = hint.read(self._store)
        if found != self.checkpoint and found is not None:
            found = self._proven(found)
        self.checkpoint = found
        return found is not None and found.version > self.version

    def _proven(self, found: Hint) -> Hint | None:
        """The hint if its checkpoint is there, else what a listing says."""
        if listing.at(self._store, found.version):
            return found
        if found != self._doubted:
            _log.warning("last_checkpoint_is_gone", table=self._store.uri, version=found.version)
        self._doubted = found
        later = listing.beyond(self._store, self.version)
        return None if later is None else Hint(later, 0)

    def _landed(self, name: str, entry: Sequence[Action], body: bytes) -> Sequence[Action]:
        """What `name` holds: `entry` itself when a lost try of ours had made it."""
        found = self._store.find(name)
        if found is None:
            raise TransientError(f"{self._store.uri}/{name} is taken, but nothing is there yet")
        if found == body:
            return entry
        try:
            return [json.loads(line) for line in found.splitlines() if line.strip()]
        except ValueError as error:
            raise SinkError(
                f"the log of table {self._store.uri} is damaged: {name}: {error}",
                "restore that file from a backup; no row was read or written",
            ) from error


def begin(store: Store, entry: Sequence[Action]) -> None:
    """Make `entry` the first of a table, unless the table has one by now."""
    store.put_new(name_of(0), _encode(entry), {})


def commit_info(told: Mapping[str, str], engine: str, now_ms: int) -> Action:
    """What a commit says of itself; the first action of an entry, which `txnId` makes unique."""
    return {
        "commitInfo": {
            "timestamp": now_ms,
            "operation": "WRITE",
            "operationParameters": {"mode": "Append", "partitionBy": "[]"},
            "isBlindAppend": True,
            "engineInfo": engine,
            "txnId": str(uuid4()),
            **told,
        }
    }


def txn(transaction: Transaction) -> Action:
    """A position."""
    return {
        "txn": {
            "appId": transaction.app_id,
            "version": transaction.version,
            "lastUpdated": transaction.last_updated,
        }
    }


def add(file: AddAction) -> Action:
    """A data file; its path is relative to the table and written as in a URI."""
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


def alters(entry: Sequence[Action]) -> bool:
    """Whether it changes what a writer must know: the schema, the properties or the features."""
    return any("metaData" in action or "protocol" in action for action in entry)


def name_of(version: int, kind: str = "json") -> str:
    """The name of a version's entry, or what the names of its checkpoints begin with."""
    return f"_delta_log/{version:020d}.{kind}"


def _encode(entry: Sequence[Action]) -> bytes:
    lines = (json.dumps(action, separators=(",", ":"), ensure_ascii=False) for action in entry)
    return "\n".join([*lines, ""]).encode()
