"""Who maintains a table: one process at a time, so that no work is done twice.

An object beside the log names it and until when. No proof depends on it: two maintainers at once,
by clocks that differ, are as harmless as a maintainer and any other writer.
"""

import json
from contextlib import suppress
from datetime import datetime, timedelta

from core.clock import Clock
from sinks.storage.protocol import Store

KEY = "_pinpip/maintainer.json"
TERM = timedelta(minutes=2)  # since the last renewal, which each commit brings


class Election:
    """The place of the maintainer of one table, for the process `owner`."""

    def __init__(self, store: Store, owner: str, clock: Clock) -> None:
        self._store, self._owner, self._clock = store, owner, clock
        self._held: bytes | None = None

    def won(self) -> bool:
        """Take or renew the place; False while another holds it."""
        found = self._store.find(KEY)
        if found is not None:
            if found != self._held and _until(found) > self._clock.now().timestamp():
                return False
            self._store.take_away(KEY, found)
        until = (self._clock.now() + TERM).timestamp()
        body = json.dumps({"owner": self._owner, "until": until}).encode()
        self._held = body if self._store.put_new(KEY, body, {}) else None
        return self._held is not None

    def leave(self) -> None:
        """Give the place up."""
        if self._held is not None:
            self._store.take_away(KEY, self._held)
            self._held = None

    @property
    def holder(self) -> str:
        """Who holds the place, and until when, for people."""
        found = self._store.find(KEY)
        with suppress(ValueError, LookupError, TypeError):
            told = json.loads(found or b"")
            until = datetime.fromtimestamp(told["until"]).astimezone()
            return f"{told['owner']} until {until:%H:%M:%S}"
        return "another process"


def _until(body: bytes) -> float:
    """Return when the term ends (seconds since 1970); a damaged one has ended."""
    try:
        return float(json.loads(body)["until"])
    except (ValueError, LookupError, TypeError):
        return 0.0
