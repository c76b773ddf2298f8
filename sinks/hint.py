"""The hint at a table's newest checkpoint: quick when it is right, never needed.

Source: Delta transaction protocol, "Last Checkpoint File".
"""

import json
from typing import NamedTuple

from sinks.store import Store

KEY = "_delta_log/_last_checkpoint"


class Hint(NamedTuple):
    """A checkpoint's version, and how many actions it lists."""

    version: int
    size: int


def read(store: Store) -> Hint | None:
    """What the hint says; None when it is absent, damaged or cut off by a crash."""
    try:
        found = json.loads(store.find(KEY) or b"")
        return Hint(int(found["version"]), int(found.get("size") or 0))
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def names_a_checkpoint(store: Store, hint: Hint) -> bool:
    """Whether the checkpoint is there, of any kind."""
    return bool(store.list(f"_delta_log/{hint.version:020d}.checkpoint"))


def beyond(store: Store, version: int) -> Hint | None:
    """A checkpoint later than `version`, from a listing; None when there is none."""
    after, more = f"_delta_log/{version + 1:020d}", True
    while more:
        keys, more = store.page("_delta_log/", after)
        for key in keys:
            number, _, kind = key.rpartition("/")[2].partition(".")
            if kind.startswith("checkpoint") and number.isdigit():
                return Hint(int(number), 0)
        after = keys[-1] if keys else after
    return None
