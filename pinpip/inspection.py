"""Which commit and file hold a record, and what was committed when: by the tables alone."""

from datetime import datetime
from typing import Any

from audit.locate import Location, locate
from audit.snapshot import Snapshot
from audit.verify import snapshots
from core.batch import Coordinates, Partition, Position, Stretch
from core.config import Config
from core.errors import FatalError
from core.topics import is_pattern
from pinpip.pipelines import archives_of, tables_of
from sinks.delta.history import LedgerCommit
from sinks.delta.ledger import CommitRange, Entry

NEWEST = 20
_LAST_SUB = 2**31
_MAX_NAMED = 8


def where_is(config: Config, name: str, offset: str) -> dict[str, Any]:
    """Find the record that `PARTITION:OFFSET` or `SHARD:SEQUENCE[.SUBSEQUENCE]` names.

    Raises ValueError for an `offset` that names none, FatalError for a partition of which the table
    has read nothing.
    """
    tables = tables_of(config, name)
    partition, record = record_of(config, name, offset, tables.coordinates)
    sides = snapshots(tables)
    _refuse_unread(sides[0], partition)
    archives, unknown = archives_of(config, name)
    found = locate(*sides, archives, partition, record)
    unsure = sum(side.unsure.get(partition, 0) for side in sides)
    return {
        "pipeline": name,
        "record": f"{partition}:{offset.rpartition(':')[2]}",
        "outcome": _outcome(found, record, tables.quarantine, unsure),
        "version": found.version,
        "committed_at": found.at,
        "transform_version": found.transform_version,
        "pinpip_version": found.pinpip_version,
        "archived_in": list(found.objects),
        "unknown": [f"{uri}: {why}" for uri, why in unknown.items()],
        "places": [vars(place) for place in found.places],
    }


def record_of(
    config: Config, name: str, offset: str, coordinates: Coordinates
) -> tuple[Partition, Stretch]:
    """Return the partition of a record, and the stretch that holds it alone.

    Raises ValueError for an `offset` that names none.
    """
    where, _, number = offset.rpartition(":")
    source, _, id_ = where.rpartition("/")
    whole, _, sub = number.partition(".")
    kafka = coordinates.sub is None
    if not whole.isdecimal() or not (sub.isdecimal() or not sub) or (kafka and not id_.isdecimal()):
        raise ValueError(f"{offset!r} is no PARTITION:OFFSET")
    if int(sub or 0) > _LAST_SUB or (kafka and int(whole) >= 2**63 - 1):
        raise ValueError(f"{offset!r} is beyond what any source numbers")
    partition = Partition(source or _only_source(config, name), id_)
    if kafka:
        return partition, Stretch(Position(int(whole)), Position(int(whole) + 1))
    first, last = (int(sub), int(sub)) if sub else (0, _LAST_SUB)
    return partition, Stretch(Position(int(whole), first - 1), Position(int(whole), last))


def commits_of(
    config: Config, name: str, since: datetime | None, until: datetime | None
) -> list[dict[str, Any]]:
    """Return the commits of both tables in [since, until), or the newest; newest first."""
    most = NEWEST if since is None and until is None else None
    return [
        _row(name, side, commit, entry)
        for side in snapshots(tables_of(config, name))
        for commit, entry in side.commits(most)
        if (since is None or commit.at >= since) and (until is None or commit.at < until)
    ]


def _row(name: str, side: Snapshot, commit: LedgerCommit, entry: Entry) -> dict[str, Any]:
    first, last = entry.event_time or (None, None)
    return {
        "pipeline": name,
        "table": side.name,
        "version": commit.version,
        "committed_at": commit.at,
        "read": sum(r.read for r in entry.ranges),
        "clean": sum(r.clean for r in entry.ranges),
        "quarantined": sum(r.quarantined for r in entry.ranges),
        "first_event": first,
        "last_event": last,
        "transform_version": entry.transform_version,
        "pinpip_version": entry.version,
        "ranges": [_range(r) for r in entry.ranges],
    }


def _range(r: CommitRange) -> dict[str, Any]:
    return {
        "partition": str(r.of),
        "start": _spelled(r.start),
        "end": _spelled(r.end),
        "read": r.read,
        "clean": r.clean,
        "quarantined": r.quarantined,
    }


def _spelled(position: Position | None) -> str | None:
    if position is None:
        return None
    return f"{position.number}.{position.sub}" if position.number >= 2**63 else str(position.number)


def _refuse_unread(clean: Snapshot, partition: Partition) -> None:
    known = clean.partitions()
    if partition in known:
        return
    read = ", ".join(map(str, sorted(known)[:_MAX_NAMED])) or "no partition yet"
    more = f" and {len(known) - _MAX_NAMED} more" if len(known) > _MAX_NAMED else ""
    raise FatalError(
        f"{clean.name} has read nothing of {partition}: it has read {read}{more}",
        "`pinpip status` lists the partitions that the source has",
    )


def _only_source(config: Config, name: str) -> str:
    sources = config.pipeline(name).reads
    if len(sources) > 1 or is_pattern(sources[0]):
        raise ValueError(f"{name} reads several topics: write TOPIC/PARTITION:OFFSET")
    return sources[0]


def _outcome(found: Location, record: Stretch, quarantine: str, unsure: int) -> str:
    if len(found.places) > 1:
        return f"there are {len(found.places)} rows of it"
    if found.places:
        return "quarantined" if found.places[0].table == quarantine else "clean"
    if found.position is None or found.position < record.end:
        return f"not read yet: the table is at {_spelled(found.position) or 'no position'}"
    if unsure:
        return f"not known: {unsure} rows of the partition may be of this incarnation or of another"
    return (
        "in neither table: `where` or the transform left it out, or the source has no such record"
    )
