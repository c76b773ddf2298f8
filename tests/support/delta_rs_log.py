"""The table's log written by delta-rs: what `sinks.delta.log` is compared with.

Every commit loads the table at its version first, so it costs more with the table's age. delta-rs
cannot commit a `metaData` action together with rows; it refuses such an entry. It lists the log
before it puts an entry and not after, so it does not notice a clean-up between the two.
"""

from typing import cast
from uuid import uuid4

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from core.errors import StalePosition
from sinks.delta import ledger
from sinks.delta.commit_log import Committed, Conflict, RecentEntries, Version
from sinks.delta.log import read_hint
from sinks.delta.positions import Lookup
from sinks.delta.table import sorted_errors
from sinks.storage.protocol import Store

_ID = "txnId"  # in the commit's metadata: tells our own entry from another writer's
_GONE = "Invalid table version"
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class DeltaRsLog:
    """A `CommitLog` of a table in a folder; reads the `txn` actions itself, not by `_started`."""

    def __init__(
        self, store: Store, version: int, _started: Lookup, *_: object, **__: object
    ) -> None:
        self.version = version
        self._store = store
        self.recent = RecentEntries()  # none: delta-rs does not hand them out
        self._table = DeltaTable(store.uri, version=version)

    def txn_version(self, app_id: str) -> int | None:
        """Return what delta-rs has of the id."""
        return self._table.transaction_version(app_id)

    def is_here(self) -> bool:
        """Return whether delta-rs can open this version."""
        try:
            DeltaTable(self._store.uri, version=self.version)
        except (DeltaError, TableNotFoundError):
            return False
        return True

    def prove(self) -> None:
        """Compare with what delta-rs can open."""
        if not self.is_here():
            raise StalePosition(f"version {self.version} is gone")

    def append(self, entry: Version) -> Committed | Conflict:
        """Commit without retries: delta-rs would go on after conflicts without a comparison."""
        own = str(uuid4())
        before = self._state()
        with sorted_errors(self._store.uri):
            try:
                self._commit(entry, own)
            except CommitFailedError:
                self._follow()
                if self._table.history(1)[-1].get(_ID) != own:
                    return Conflict(self._state() != before)
            except DeltaError as error:
                if _GONE not in str(error):
                    raise
                raise StalePosition(f"the log was cleaned up about it: {error}") from error
            else:
                self._follow()
        return Committed(read_hint(self._store))

    def _commit(self, entry: Version, own: str) -> None:
        self._table.create_write_transaction(
            cast(list[AddAction | RemoveAction], [*entry.files, *entry.metadata]),
            "append",
            self._table.schema(),
            commit_properties=CommitProperties(
                custom_metadata={ledger.KEY: entry.ledger, _ID: own},
                max_commit_retries=0,
                app_transactions=list(entry.txns),
            ),
            post_commithook_properties=_NO_HOOKS,
        )

    def _follow(self) -> None:
        """Go one version on, not to the newest: what others append later is a conflict."""
        try:
            self._table = DeltaTable(self._store.uri, version=self.version + 1)
        except (DeltaError, TableNotFoundError) as error:
            raise StalePosition(f"version {self.version + 1} was cleaned up: {error}") from error
        self.version += 1

    def _state(self) -> tuple[str, object, str]:
        metadata = self._table.metadata()
        return self._table.schema().to_json(), metadata.configuration, str(self._table.protocol())
