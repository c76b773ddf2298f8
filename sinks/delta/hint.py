"""The hint at a table's newest checkpoint: quick when it is right, never needed.

Source: Delta transaction protocol, "Last Checkpoint File".
"""

import json
from typing import NamedTuple

from sinks.storage.protocol import Store

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
