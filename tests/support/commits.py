"""What other writers do between a sink's comparison and its commit."""

from collections.abc import Callable, Sequence

import pytest

from sinks.delta.deltalog import Action, Log


def before_the_next_commit(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let `act` happen after a sink has compared and before it commits."""
    append = Log.append

    def interrupted(log: Log, entry: Sequence[Action]) -> Sequence[Action]:
        monkeypatch.setattr(Log, "append", append)
        act()
        return append(log, entry)

    monkeypatch.setattr(Log, "append", interrupted)
