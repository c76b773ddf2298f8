"""What other writers do between a sink's comparison and its commit."""

from collections.abc import Callable

import pytest

from sinks.delta.commit_log import Committed, Conflict, Version
from sinks.delta.log import DeltaLog


def before_the_next_commit(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let `act` happen after a sink has compared and before it commits."""
    append = DeltaLog.append

    def interrupted(log: DeltaLog, entry: Version) -> Committed | Conflict:
        monkeypatch.setattr(DeltaLog, "append", append)
        act()
        return append(log, entry)

    monkeypatch.setattr(DeltaLog, "append", interrupted)
