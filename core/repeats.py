"""Lines of the log that repeat: written once a minute, counted in between."""

from typing import NamedTuple

from core.clock import Clock

AGAIN_AFTER_S = 60.0  # seconds until a line that repeats is written again
MOST = 1000  # lines whose repeats are counted


class _Kept(NamedTuple):
    until: float
    repeats: int


class Repeats:
    """Holds lines back that were written less than AGAIN_AFTER_S ago, and counts them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[object, _Kept] = {}

    def due(self, line: object) -> int | None:
        """Return how often `line` was held back since it was last due; None: hold it back."""
        now = self._clock.monotonic()
        kept = self._kept.get(line)
        if kept is not None and now < kept.until:
            self._kept[line] = kept._replace(repeats=kept.repeats + 1)
            return None
        if len(self._kept) >= MOST:
            self._kept.clear()
        self._kept[line] = _Kept(now + AGAIN_AFTER_S, 0)
        return kept.repeats if kept else 0
