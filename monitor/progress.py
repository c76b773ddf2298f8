"""How far one partition is in the tables, and up to when that holds every record."""

from collections import deque
from datetime import datetime

from core.batch import Position
from core.observer import NEVER, Horizon

_KEPT = 64  # horizons that are not reached yet; beyond it every second one is dropped


class Progress:
    """One partition: what the sinks have `committed`, against the horizons that its source told.

    A horizon that is reached proves freshness: all that arrived until then is in the table. Before
    the first one is reached, freshness is the records' own time: of each batch the earliest, so
    that no single record with a wrong clock decides.
    """

    def __init__(self, committed: Position | None) -> None:
        self.committed = committed
        self.newest: Horizon | None = None
        self._ahead: deque[Horizon] = deque()
        self._proven: datetime | None = None
        self._recorded: datetime | None = None

    def reached(self, horizon: Horizon) -> None:
        """Hear where the partition ends now."""
        self.newest = horizon
        if horizon.until != NEVER:
            self._ahead.append(horizon)
        if len(self._ahead) > _KEPT:
            self._ahead = deque([*self._ahead][::-2][::-1])
        self._prove()

    def wrote(self, end: Position, earliest: datetime | None) -> None:
        """Hear of a batch that is committed; `earliest`: the first timestamp of its records."""
        self.committed = end
        if earliest is not None:
            self._recorded = max(earliest, self._recorded or earliest)
        self._prove()

    @property
    def is_proven(self) -> bool:
        """Whether a horizon was reached, so that the records' own times do not matter."""
        return self._proven is not None

    @property
    def queryable_until(self) -> datetime | None:
        """Until when every record is in the table; None: not known yet."""
        return self._proven or self._recorded

    @property
    def lag(self) -> int | None:
        """Offsets from the committed position to the end; None where the source does not tell."""
        known = self.newest
        if known is None or known.begin is None:
            return None
        held = self.committed.number if self.committed else known.begin
        return max(0, known.position.number - max(held, known.begin))

    def _prove(self) -> None:
        while self._ahead and self._is_reached(self._ahead[0]):
            until = self._ahead.popleft().until
            self._proven = max(until, self._proven or until)

    def _is_reached(self, horizon: Horizon) -> bool:
        if horizon.position.number <= (horizon.begin or 0):
            return True  # there was nothing to read
        return self.committed is not None and self.committed >= horizon.position
