"""What happens just before an entry that rewrites files is put."""

from collections.abc import Callable
from typing import Any

import pytest

from sinks.delta import rewrite
from sinks.delta.log import DeltaLog


def before_entry(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Call `act` once, just before the next such entry is put."""
    left = [act]

    class Log(DeltaLog):
        def append(self, entry: Any) -> Any:
            if left:
                left.pop()()
            return super().append(entry)

    monkeypatch.setattr(rewrite, "DeltaLog", Log)
