"""The limit on lost races: within one assignment, nobody else should write what is ours."""

import structlog

from core.errors import SinkError, StalePosition

LIMIT = 10
_log = structlog.get_logger()


class RivalWatch:
    """Tells a second consumer of the same tables from the overlap that a rebalance leaves.

    A rebalance, or a write whose answer was lost, explains a stale position or two. Two groups on
    one table overtake each other for ever: each own write outweighs one that came too late, and
    `LIMIT` too many since the last rebalance stop the process.
    """

    def __init__(self) -> None:
        self._lost = 0

    def rebalanced(self) -> None:
        """Partitions came or went: their owner before may still be writing."""
        self._lost = 0

    def wrote(self) -> None:
        """A batch is in every sink."""
        self._lost = max(0, self._lost - 1)

    def overtaken(self, stale: StalePosition) -> None:
        """Note that another writer was faster; SinkError when that happens all the time."""
        self._lost += 1
        _log.warning("overtaken", where=stale.message)
        if self._lost >= LIMIT:
            raise SinkError(
                f"another consumer keeps writing what this one reads: {stale.message}",
                "do two groups, or one process outside the group, fill the same tables? Stop one, "
                "or give it tables of its own; nothing is lost or doubled",
            )
