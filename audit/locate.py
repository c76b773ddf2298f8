"""Locate a record by the ledger, the files' statistics, and the data files they select."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from audit.archive import Archive
from audit.snapshot import Snapshot
from core.batch import Partition, Position, Stretch
from sinks.delta.history import LedgerCommit
from sinks.delta.ledger import CommitRange, Entry

_FILE = "__file"


@dataclass(frozen=True)
class LocatedRow:
    """A row of the record, and its data file."""

    table: str
    file: str
    row: dict[str, Any]


@dataclass(frozen=True)
class Location:
    """Where one record is stored.

    `version` and `at`: the commit of the clean table that read it, None when its ledger entry has
    expired; `transform_version` and `pinpip_version`: of that commit; `position`: the clean
    table's. `places`: usually one row; none when the record was filtered out, does not exist, or
    was not read yet. `objects`: of the archives.
    """

    position: Position | None
    version: int | None
    at: datetime | None
    places: tuple[LocatedRow, ...]
    objects: tuple[str, ...]
    transform_version: str | None = None
    pinpip_version: str | None = None


def locate(
    clean: Snapshot,
    quarantine: Snapshot,
    archives: Iterable[Archive],
    partition: Partition,
    record: Stretch,
) -> Location:
    """Locate the one record of the range `record`."""
    wanted = {partition: record}
    places = [
        LocatedRow(side.name, row.pop(_FILE), row)
        for side in (clean, quarantine)
        for row in side.located(wanted, _FILE).to_dicts()
    ]
    objects = [archive.holding(partition, record) for archive in archives]
    position = clean.position(partition)
    found = Location(position, None, None, tuple(places), tuple(o for o in objects if o))
    match _commit(clean, partition, record):
        case None:
            return found
        case commit, entry:
            own, release = entry.transform_version, entry.version
            return replace(
                found,
                version=commit.version,
                at=commit.at,
                transform_version=own,
                pinpip_version=release,
            )


def _commit(
    clean: Snapshot, partition: Partition, record: Stretch
) -> tuple[LedgerCommit, Entry] | None:
    """Return the newest commit that covers the record."""
    for commit, entry in clean.commits():
        if any(r.of == partition and _covers(r, record) for r in entry.ranges):
            return commit, entry
    return None


def _covers(r: CommitRange, record: Stretch) -> bool:
    begins = r.start is None or (record.start is not None and r.start <= record.start)
    return begins and record.end <= r.end
