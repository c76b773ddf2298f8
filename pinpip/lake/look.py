"""One look at the tables of a pipeline: rows, newest commits, quarantine by reason, files."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from core.clock import Clock
from core.errors import PinpipError
from monitor.view import VerdictView
from pinpip.lake.side import CleanSide, QuarantineSide, Side
from pinpip.lake.view import LakeView
from pinpip.verify.last import last_verdict
from sinks.delta.target import Tables

# A panic of polars is no Exception.
UNEXPECTED = (Exception, pl.exceptions.PanicException)


def why(error: BaseException) -> str:
    """Return what happened and what to do next, in one line."""
    if isinstance(error, PinpipError):
        return f"{error.message}; next: {error.hint}" if error.hint else error.message
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"


class LakeLook:
    """Looks at the tables again and again; what cannot change is read once.

    `find` tells where they are; it is called again after a fault, as an address may have changed.
    """

    def __init__(self, find: Callable[[], Tables], clock: Clock) -> None:
        self._find = find
        self._clock = clock
        self._tables: Tables | None = None
        self._clean = CleanSide(clock)
        self._quarantine = QuarantineSide(clock)

    def look(self) -> LakeView:
        """Return what the tables say now, raising nothing: what cannot be told is `unknown`.

        Of a table that cannot be read now, the numbers are those of the last success.
        """
        clean, quarantine = (self._looked(side) for side in (self._clean, self._quarantine))
        times = [view.at for view in (clean, quarantine) if view.at is not None]
        verdict, none = self._verdict()
        return replace(
            clean,
            at=min(times, default=None),
            quarantined=quarantine.quarantined,
            reasons=quarantine.reasons,
            files=clean.files + quarantine.files,
            verdict=verdict,
            unknown={**clean.unknown, **quarantine.unknown, **none},
        )

    def _verdict(self) -> tuple[VerdictView | None, dict[str, str]]:
        """Return verify's last verdict on the tables, and why there is none."""
        seen = [side.seen for side in (self._clean, self._quarantine) if side.seen]
        if self._clean.seen is None:
            return None, {}
        try:
            tables = self._tables or self._find()
            counts = (self._clean.view.clean, self._quarantine.view.quarantined)
            rows = None if None in counts else sum(filter(None, counts))
            verdict, why_none = last_verdict(tables, seen, self._clock.now(), rows)
        except UNEXPECTED as error:
            return None, {"verdict": why(error)}
        return verdict, {"verdict": why_none} if why_none else {}

    def _looked(self, side: Side) -> LakeView:
        try:
            tables = self._tables = self._tables or self._find()
            side.look(tables)
        except UNEXPECTED as error:
            self._tables = None
            old = side.view
            since = f" (numbers of {old.at:%H:%M:%S} UTC)" if old.at else ""
            told = dict.fromkeys(side.untold, f"{why(error)}{since}")
            return replace(old, unknown={**old.unknown, **told})
        return side.view
