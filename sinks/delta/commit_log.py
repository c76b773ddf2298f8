"""What the sink asks of a table's log: to append a version, and to say what others appended.

`sinks.delta.log` implements it at a constant cost for each commit. The tests have a second
implementation on delta-rs, and one contract suite runs on both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

from deltalake import Transaction
from deltalake.transaction import AddAction

from core.errors import StalePosition

LONGEST_COMMIT = timedelta(days=1)  # from the making of a data file to the entry that names it
MOST_RECENT = 8 * 1024 * 1024  # bytes of the entries that are kept in memory

Action = dict[str, Any]


@dataclass(frozen=True)
class Version:
    """The content of one version: an append of `files` that sets the versions of `txns`.

    `ledger` is the text that the commit's metadata carries, `now_ms` the time of the commit.
    `metadata`: at most one `metaData` action, which changes the table's schema or properties.
    `removed`: `remove` actions of files whose rows are in `files`. A version that changes rows
    moves no position and has no `ledger`: `about` is what its metadata says.
    """

    ledger: str
    now_ms: int
    txns: Sequence[Transaction] = ()
    files: Sequence[AddAction] = ()
    metadata: Sequence[Action] = field(default=())
    removed: Sequence[Action] = field(default=())
    about: Mapping[str, Any] = field(default_factory=dict)


def refuse_late(entry: Version) -> None:
    """Raise StalePosition for an append of a file that was made LONGEST_COMMIT ago.

    Upkeep may have removed it. Its rows are read again.
    """
    oldest = min((file.modification_time for file in entry.files), default=entry.now_ms)
    if entry.ledger and entry.now_ms - oldest >= LONGEST_COMMIT / timedelta(milliseconds=1):
        raise StalePosition(f"a data file was uploaded more than {LONGEST_COMMIT} ago")


class Hint(NamedTuple):
    """A checkpoint's version, and how many actions it lists."""

    version: int
    size: int


class Committed(NamedTuple):
    """The version is in the log; `checkpoint` is the newest known, None: there is none.

    It is known whenever a checkpoint may be due.
    """

    checkpoint: Hint | None


class Conflict(NamedTuple):
    """Another writer took the version; the log is now at a version of another writer.

    `alters`: whether that changed the schema, the properties or the protocol of the table.
    `removed`: the files that it removed, as the log names them.
    """

    alters: bool
    removed: frozenset[str] = frozenset()


def removed(actions: Sequence[Action]) -> frozenset[str]:
    """Return the files that an entry removes, as the log names them."""
    return frozenset(action["remove"]["path"] for action in actions if "remove" in action)


class RecentEntries:
    """The newest entries of a log by version, without a hole: a checkpoint need not read them.

    The oldest are dropped beyond `MOST_RECENT` bytes.
    """

    def __init__(self) -> None:
        self._bodies: dict[int, bytes] = {}
        self._nbytes = 0

    def keep(self, version: int, body: bytes) -> None:
        """Note an entry of the log."""
        if version - 1 not in self._bodies:
            self.take()
        self._bodies[version] = body
        self._nbytes += len(body)
        while self._nbytes > MOST_RECENT:
            self._nbytes -= len(self._bodies.pop(next(iter(self._bodies))))

    def take(self) -> Mapping[int, bytes]:
        """Return them, and forget them."""
        taken, self._bodies, self._nbytes = self._bodies, {}, 0
        return taken


class CommitLog(Protocol):
    """The log of one table at one version, followed by its one caller.

    `recent`: entries that a checkpoint need not read again, perhaps none.
    """

    version: int
    recent: RecentEntries

    def txn_version(self, app_id: str) -> int | None:
        """Return what the `txn` actions up to this version say of `app_id`; None: nothing."""
        ...

    def is_here(self) -> bool:
        """Return whether the table still has this version; looks only when a fault is possible."""
        ...

    def prove(self) -> None:
        """Raise StalePosition unless all that was appended is still in the log."""
        ...

    def append(self, entry: Version) -> Committed | Conflict:
        """Make `entry` the next version if nobody else made it, and follow the log.

        A repeated request whose first response was lost is Committed.

        Raises TransientError when the entry may be there or not: the positions tell. Raises
        StalePosition when the entry is there but nobody reads it, since the log about it was
        cleaned up; the table must then be opened again.
        """
        ...
