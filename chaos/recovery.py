"""How soon a consumer that was killed works again: from its birth to its first new rows."""

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.failpoints import COMMITTED, INTERRUPTED
from chaos.fleet import ConsumerProcess


@dataclass(frozen=True)
class Recovery:
    """Seconds from the start of a killed consumer's successor to its first commit of new rows.

    A static member is known to the group and goes on at once; a dynamic one waits until the group
    has given its predecessor up.
    """

    static: tuple[float, ...]
    dynamic: tuple[float, ...]


def recovery(members: Iterable[ConsumerProcess]) -> Recovery:
    """Of those members that followed a killed one and lived long enough to commit."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for member in members:
        at = _journal(member.journal).get(COMMITTED)
        if member.after_kill and at is not None:
            found[member.static].append(round(at - member.born, 2))
    return Recovery(tuple(found[True]), tuple(found[False]))


def median_and_p95(seconds: Sequence[float]) -> tuple[float, float] | None:
    """None when there are none."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def crash_points(members: Iterable[ConsumerProcess]) -> Counter[str]:
    """How many members interrupted themselves at each crash point."""
    return Counter(
        member.arm.point.value
        for member in members
        if member.arm.point and INTERRUPTED in _journal(member.journal)
    )


def _journal(path: Path) -> dict[str, float]:
    """Read what the member noted; a kill may have cut the last line short."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    notes = [json.loads(line) for line in lines if line.endswith("}\n")]
    return {note["what"]: note["at"] for note in notes}
