"""What a replay was asked for and the source no longer has: retention took it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from audit.verify import snapshots
from consumers.kinesis.calls import CLIENT_CONFIG
from core import aws
from core.batch import Partition, Positions
from core.config import Config
from core.errors import RecordsExpired
from sinks.delta.target import Tables

if TYPE_CHECKING:
    from pinpip.stretch import Stretch

Row = dict[str, Any]


def of_topics(
    stretch: "Stretch",
    lows: Mapping[Partition, int],
    begun: Mapping[Partition, int],
    held: Positions,
) -> list[Row]:
    """The partitions that lack asked offsets: partition, first_offset there is, expired.

    `expired` is None where it is not known: offsets do not say what their timestamps were, nor what
    an earlier run of the replay read, which was at `held`. `begun`: where reading began, by offset
    or timestamp; a range of time that begins behind the first record lacks nothing. A replay
    without bounds asks for what there is.
    """
    if stretch.unbounded:
        return []
    rows = []
    for partition, low in sorted(lows.items()):
        last = low if stretch.last is None else min(low, stretch.last)
        expired = last - (stretch.first or 0)
        if expired > 0 and not (stretch.since and begun.get(partition, low) > low):
            timed = stretch.since is not None or stretch.until is not None
            known = not timed and held.get(partition) is None
            row = {"partition": str(partition), "first_offset": low}
            rows.append(row | {"expired": expired if known else None})
    return rows


def refuse(stretch: "Stretch", lows: Mapping[Partition, int], held: Positions) -> None:
    """Raise RecordsExpired for a first offset that is gone and that the table does not hold."""
    first = stretch.first
    if first is None:
        return
    wanted = {p: max(first, at.number if (at := held.get(p)) else 0) for p in lows}
    last = max(lows.values()) if stretch.last is None else stretch.last
    gone = {p: min(low, last) - wanted[p] for p, low in lows.items()}
    each = [f"{n} of {p} before {lows[p]}" for p, n in sorted(gone.items()) if n > 0]
    if each:
        raise RecordsExpired(
            f"asked offsets are gone from the topic: {', '.join(each)}",
            f"replay into a new table with --from-offset {max(lows.values())}, or without"
            " --from-offset: that begins at the first offset there is and names what is gone",
        )


def held(tables: Tables, partitions: Collection[Partition]) -> Positions:
    """Where an earlier run of the same replay was."""
    clean, _ = snapshots(tables)
    return {p: clean.position(p) for p in partitions}


def of_stream(config: Config, stream: str, stretch: "Stretch", now: datetime) -> list[Row]:
    """The stream, if the range begins before the oldest record that it can have: nobody knows."""
    if stretch.unbounded:
        return []
    client = aws.client(config.aws, "kinesis", CLIENT_CONFIG)
    unknown = [{"partition": stream, "first_offset": None, "expired": None}]
    try:
        told = client.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
    except (BotoCoreError, ClientError):
        return unknown
    kept = now - timedelta(hours=told["RetentionPeriodHours"])
    younger = told["StreamCreationTimestamp"] > kept
    return [] if younger or (stretch.since is not None and stretch.since >= kept) else unknown


def total(rows: Sequence[Row]) -> int | None:
    """All that expired; None where that of one partition is not known."""
    counts = [row["expired"] for row in rows]
    return None if None in counts else sum(counts)


def said(rows: Sequence[Row]) -> str:
    """What is gone, in one line."""
    if total(rows) is None:
        return "not known: how many records of the range retention has taken"
    return f"expired: {total(rows):,} of the asked offsets are gone from the source"
