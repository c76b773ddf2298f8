"""Measure how long the successor of a killed consumer takes to commit its first new rows."""

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.failpoints import COMMITTED, INTERRUPTED
from chaos.fleet import ConsumerProcess


@dataclass(frozen=True)
class RecoveryTimes:
    """Seconds from the start of a killed consumer's successor to its first commit of new rows.

    A static member gets its partitions back immediately; a dynamic one waits for the session
    timeout of its predecessor.
    """

    static: tuple[float, ...]
    dynamic: tuple[float, ...]


def recovery(members: Iterable[ConsumerProcess]) -> RecoveryTimes:
    """Return the times of the successors of killed members that committed before their end."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for member in members:
        at = _journal(member.journal).get(COMMITTED)
        if member.after_kill and at is not None:
            found[member.static].append(round(at - member.started_at, 2))
    return RecoveryTimes(tuple(found[True]), tuple(found[False]))


def median_and_p95(seconds: Sequence[float]) -> tuple[float, float] | None:
    """Return the median and the 95th percentile, None for no values."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def crash_points(members: Iterable[ConsumerProcess]) -> Counter[str]:
    """Count the members that signalled themselves at each failpoint."""
    return Counter(
        member.armed.point.value
        for member in members
        if member.armed.point and INTERRUPTED in _journal(member.journal)
    )


def _journal(path: Path) -> dict[str, float]:
    """Return when the member passed each failpoint; a kill may have truncated the last line."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    notes = [json.loads(line) for line in lines if line.endswith("}\n")]
    return {note["what"]: note["at"] for note in notes}
