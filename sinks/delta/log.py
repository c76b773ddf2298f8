"""The log of a Delta table, written and followed entry by entry.

Entry n is `_delta_log/<n, 20 digits>.json`, created if absent: whoever creates it owns version n,
and all others see what it says. So a commit costs the same however old the table is and however
many files it has; delta-rs, which loads the list of all files first, only opens tables and writes
checkpoints. `_last_checkpoint` is a hint at the newest checkpoint: quick when it is right, never
needed. Source: Delta transaction protocol, "Delta Log Entries", "Actions", "Last Checkpoint File".
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import structlog
from deltalake import Transaction
from deltalake.transaction import AddAction

from core import __version__
from core.at_once import at_once
from core.clock import Clock, SystemClock
from core.errors import SinkError, StalePosition, TransientError
from sinks.delta import aside, commit_log, ledger, listing
from sinks.delta.commit_log import Action, Committed, Conflict, Hint, Version, removed
from sinks.delta.positions import Lookup
from sinks.delta.watch import Watch
from sinks.storage.protocol import Store

HINT = "_delta_log/_last_checkpoint"
CHECKPOINT_EVERY = 100  # commits at least
CHECKPOINT_SHARE = 32  # of what the last one lists: all of them stay within 33 times the last
ENGINE = f"pinpip/{__version__}"
_log = structlog.get_logger()


class DeltaLog:
    """A `CommitLog` of our own: `started` returns the version of each app id at `version`.

    `alert`: look at the log beside every commit, as long as others may clean it up at any time.
    """

    def __init__(
        self,
        store: Store,
        version: int,
        started: Lookup,
        clock: Clock | None = None,
        *,
        alert: bool = False,
    ) -> None:
        self.version = version
        self._store = store
        self._started = started
        self._written: dict[str, int] = {}
        self._checkpoint: Hint | None = None  # the newest that was read
        self._suspected: Hint | None = None
        self._watch = Watch(clock or SystemClock(), alert=alert)
        # The entry up to which the log was whole, and its body's hash; that of `version`, too.
        self._anchor, self._anchored, self._newest = version, b"", b""
        self._put: dict[int, bytes] = {}  # what this log has put since then: the bodies' hashes
        self._ours: int | None = None  # checkpoints from this version on may be ours
        self._is_whole = True
        self.recent = commit_log.RecentEntries()

    def txn_version(self, app_id: str) -> int | None:
        """Return the version that was written since the start, else that of the start."""
        found = self._written.get(app_id)
        return self._started(app_id) if found is None else found

    def is_here(self) -> bool:
        """Look at the log, if that is due before a put; return whether it is whole."""
        if self._is_whole and self._watch.is_due_before:
            began = self._watch.moment()
            if self._look():
                self._watch.looked(began)
        return self._is_whole

    def prove(self) -> None:
        """Look at what was appended since the last look. Raises StalePosition if that is lost."""
        if self._anchor == self.version and self._is_whole:
            return
        began = self._watch.moment()
        if not self._is_whole or not self._is_read():
            raise self._stale()
        self._watch.looked(began)

    def append(self, entry: Version) -> Committed | Conflict:
        """Create the next entry; when its name is taken, read that entry and follow it.

        The next version may have been there before, and been cleaned up behind a checkpoint. Only
        after the put can that be ruled out: a writer may sleep before it puts, and a clean-up
        removes entries in any order. `Watch` says when that is possible at all.
        """
        name, actions = name_of(self.version + 1), list(_actions(entry))
        body, began = _encode(actions), self._watch.moment()
        landed = None if self._store.put_new(name, body, {}) else self._landed(name, body)
        if landed is not None:
            self._watch.conflicted()
            self._follow(*landed)
            return Conflict(_alters(landed[0]), removed(landed[0]))
        may_be_due = is_checkpoint_due(self.version + 1, self._checkpoint)
        self._put[self.version + 1] = _hash(body)
        looks = self._watch.is_due_after or may_be_due
        if looks and not self._is_read():
            raise self._stale()
        self._watch.committed(began, looked=looks)
        self._follow(actions, body)
        if looks:
            self._move_anchor()
        if is_checkpoint_due(self.version, self._checkpoint):
            self._ours = self.version
        return Committed(self._checkpoint)

    def _stale(self) -> StalePosition:
        self._is_whole = False
        return StalePosition(
            f"the log of {self._store.uri} was cleaned up about version {self.version}"
        )

    def _follow(self, actions: Sequence[Action], body: bytes) -> None:
        for action in actions:
            if "txn" in action:
                self._written[action["txn"]["appId"]] = action["txn"]["version"]
        self.version += 1
        self._newest = _hash(body)
        self.recent.keep(self.version, body)

    def _is_read(self) -> bool:
        """Return whether readers find the entries since the anchor: the log is whole up to them."""
        hint, *seen = at_once(partial(read_hint, self._store), *self._requests())
        return not self._is_superseded(hint) and self._judge(*seen)

    def _look(self) -> bool:
        """Return whether each entry since the anchor is there, and the anchor is the same."""
        return self._judge(*at_once(*self._requests()))

    def _requests(self) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """Return the requests for the anchor, and for the entries since it that are not there."""
        anchor, *since = (name_of(n) for n in range(self._anchor, self.version + 1))
        return partial(self._store.find, anchor), partial(self._store.absent, since)

    def _judge(self, found: bytes | None, absent: Sequence[str]) -> bool:
        if found is None:
            same = bool(self._store.list(name_of(self._anchor, "checkpoint")))
        else:
            same = self._anchored in {b"", _hash(found)}
            self._anchored = self._anchored or _hash(found)
            if not same:
                self._withdraw()
        self._is_whole = same and not absent
        if self._is_whole and self._anchor < self.version:
            self._move_anchor()
        return self._is_whole

    def _move_anchor(self) -> None:
        self._anchor, self._anchored, self._put = self.version, self._newest, {}

    def _withdraw(self) -> None:
        """Set aside what was put since the anchor: it is in the log of another table by now."""
        found = {n: self._store.find(name_of(n)) for n in self._put}
        ours = {n: b for n, b in found.items() if b is not None and _hash(b) == self._put[n]}
        _log.warning("table_was_replaced", table=self._store.uri, version=self._anchor)
        aside.move(self._store, {name_of(n): body for n, body in ours.items()})

    def _is_superseded(self, found: Hint | None) -> bool:
        """Return whether there is a later checkpoint: what is before it may be gone.

        Another's checkpoint since the anchor may be one of entries that were where ours are now.
        """
        if found != self._checkpoint and found is not None:
            found = self._proven(found)
        self._checkpoint = found
        if found is None or found.version <= self._anchor:
            return False
        is_ours = self._ours is not None and found.version >= self._ours
        return found.version > self.version or not is_ours

    def _proven(self, found: Hint) -> Hint | None:
        """Return the hint if its checkpoint is there, else what a listing says."""
        if listing.at(self._store, found.version):
            return found
        if found != self._suspected:
            _log.warning("last_checkpoint_is_gone", table=self._store.uri, version=found.version)
        self._suspected = found
        later = listing.beyond(self._store, self.version)
        return None if later is None else Hint(later, 0)

    def _landed(self, name: str, body: bytes) -> tuple[Sequence[Action], bytes] | None:
        """Return what another writer put at `name`; None when an earlier try of ours put `body`."""
        found = self._store.find(name)
        if found is None:
            raise TransientError(f"{self._store.uri}/{name} is taken, but nothing is there yet")
        if found == body:
            return None
        try:
            lines = [json.loads(line) for line in found.splitlines() if line.strip()]
        except ValueError as error:
            raise damaged_entry(self._store.uri, name, error) from error
        return lines, found


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
    commit_log.refuse_late(entry)
    yield {"commitInfo": _commit_info(entry)}
    yield from entry.metadata
    yield from map(_txn, entry.txns)
    yield from entry.removed
    yield from map(add, entry.files)


def _commit_info(entry: Version) -> dict[str, Any]:
    """Return what a commit says of itself; `txnId` makes the entry unique."""
    info = {"timestamp": entry.now_ms, "engineInfo": ENGINE, "txnId": str(uuid4())}
    if entry.removed or entry.about:
        own = {"operation": "UPDATE", "operationParameters": {}, "isBlindAppend": False}
        return info | own | dict(entry.about)
    parameters = {"mode": "Append", "partitionBy": "[]"}
    own = {"operation": "WRITE", "operationParameters": parameters, "isBlindAppend": True}
    return info | own | {ledger.KEY: entry.ledger}


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


def _hash(body: bytes) -> bytes:
    return sha256(body).digest()


def _encode(actions: Sequence[Action]) -> bytes:
    lines = (json.dumps(action, separators=(",", ":"), ensure_ascii=False) for action in actions)
    return "\n".join([*lines, ""]).encode()
