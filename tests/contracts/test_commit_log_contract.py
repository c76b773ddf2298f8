"""The commit log contract on our own log and on delta-rs's."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from sinks.delta.commit_log import CommitLog
from sinks.delta.log import DeltaLog
from sinks.storage.store import FolderStore
from tests.contracts.commit_log_contract import CommitLogContract, Made
from tests.support.delta_rs_log import DeltaRsLog


class TestOurLog(CommitLogContract):
    """What the sink uses."""

    @pytest.fixture
    def made(self) -> Made:
        """Return the implementation."""
        return DeltaLog

    @pytest.fixture
    def lost_answer(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Return what lets a repeated put find the entry that its first try made."""
        put_new = FolderStore.put_new

        def again(store: FolderStore, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
            assert put_new(store, key, body, metadata)
            monkeypatch.setattr(FolderStore, "put_new", put_new)
            return put_new(store, key, body, metadata)

        return lambda: monkeypatch.setattr(FolderStore, "put_new", again)


class TestDeltaRsLog(CommitLogContract):
    """The same on delta-rs, at its cost."""

    @pytest.fixture
    def made(self) -> Made:
        """Return the implementation."""
        return DeltaRsLog

    @pytest.fixture
    def lost_answer(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Return what lets delta-rs find that its first try took the version."""
        commit = DeltaTable.create_write_transaction

        def again(table: DeltaTable, *given: Any, **named: Any) -> None:
            commit(table, *given, **named)
            monkeypatch.setattr(DeltaTable, "create_write_transaction", commit)
            with pytest.raises(CommitFailedError):
                commit(table, *given, **named)
            commit(table, *given, **named)

        return lambda: monkeypatch.setattr(DeltaTable, "create_write_transaction", again)

    @pytest.mark.xfail(
        strict=True, raises=TypeError, reason="delta-rs takes no metaData action with an append"
    )
    def test_metadata_changes_together_with_positions(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        super().test_metadata_changes_together_with_positions(opened, folder)
