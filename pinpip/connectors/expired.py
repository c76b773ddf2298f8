"""What a range asks for and its source no longer holds."""

from collections.abc import Mapping

from consumers.window import Window
from core.batch import Partition, Positions
from core.errors import RecordsExpired
from pinpip.connectors.protocol import Row


def lacking(
    window: Window,
    lows: Mapping[Partition, int],
    begun: Mapping[Partition, int],
    held: Positions,
) -> list[Row]:
    """List the partitions that lack requested offsets: partition, its first offset, expired.

    `expired` is None where it is not known: offsets do not say what their timestamps were, nor what
    an earlier run of the replay read, which was at `held`. `begun`: where reading began, by offset
    or timestamp; a range of time that begins behind the first record lacks nothing. A replay
    without bounds asks for what there is.
    """
    if window.is_unbounded:
        return []
    rows = []
    for partition, low in sorted(lows.items()):
        last = low if window.last is None else min(low, window.last)
        expired = last - (window.first or 0)
        if expired > 0 and not (window.since and begun.get(partition, low) > low):
            known = not window.is_timed and held.get(partition) is None
            row = {"partition": str(partition), "first_offset": low}
            rows.append(row | {"expired": expired if known else None})
    return rows


def refuse_expired(
    window: Window, lows: Mapping[Partition, int], held: Positions, source: str = "topic"
) -> None:
    """Raise RecordsExpired for a first offset that is gone and that the table does not hold."""
    first = window.first
    if first is None:
        return
    wanted = {p: max(first, at.number if (at := held.get(p)) else 0) for p in lows}
    last = max(lows.values()) if window.last is None else window.last
    gone = {p: min(low, last) - wanted[p] for p, low in lows.items()}
    each = [f"{n} of {p} before {lows[p]}" for p, n in sorted(gone.items()) if n > 0]
    if each:
        raise RecordsExpired(
            f"asked offsets are gone from the {source}: {', '.join(each)}",
            f"replay into a new table with --from-offset {max(lows.values())}, or without"
            " --from-offset: that begins at the first offset there is and names what is gone",
        )
