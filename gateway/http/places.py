"""Who keeps a connection when max_connections is reached.

A connection that is idle, or has sent nothing yet, gives its place to a new one. When there is
none, a few more may come for a moment to ask whether the process lives: a liveness probe must not
depend on the load.
"""

from collections import OrderedDict
from typing import Protocol

PROBES = ("/health", "/metrics")
"""What may be asked beyond the limit: answered at once, from memory."""
RESERVE = 20
RESERVE_SECONDS = 2.0
"""How long a connection beyond the limit may take to ask."""


class Guest(Protocol):
    """A connection."""

    def leave(self) -> None:
        """Close, as nothing is under way."""
        ...

    def refuse(self) -> None:
        """Say that there are too many, and close."""
        ...


class Places:
    """The places of one gateway: `limit`, and RESERVE beyond it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: OrderedDict[Guest, None] = OrderedDict()
        self._waiting: OrderedDict[Guest, None] = OrderedDict()

    def has_room(self, guest: Guest, connections: int) -> bool:
        """Whether `guest`, one of so many, may ask for anything; else only whether we live.

        The one that has been silent for longest leaves, if there are too many.
        """
        if connections <= self._limit:
            return True
        if self._idle:
            self._idle.popitem(last=False)[0].leave()
            return True
        self._waiting[guest] = None
        if len(self._waiting) > RESERVE:
            self._waiting.popitem(last=False)[0].refuse()
        return False

    def idle(self, guest: Guest) -> None:
        """Note that nothing is under way for `guest`."""
        self._idle[guest] = None

    def busy(self, guest: Guest) -> None:
        """Note that `guest` sends again, or is gone."""
        self._idle.pop(guest, None)

    def served(self, guest: Guest) -> None:
        """Note that the request of a `guest` beyond the limit is here, or the guest gone."""
        self._waiting.pop(guest, None)
