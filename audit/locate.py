"""Where a record is: answered from the ledger, the files' statistics and the files they name."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit.archive import Archive
from audit.snapshot import Snapshot
from core.batch import Partition, Position, Stretch
from sinks.delta.ledger import CommitRange

_FILE = "__file"


@dataclass(frozen=True)
class Place:
    """A row of the record that was looked for, and the data file it is in."""

    table: str
    file: str
    row: dict[str, Any]


@dataclass(frozen=True)
class Location:
    """All that is known of one record.

    `version` and `at`: the commit of the clean table that read it, None when its ledger entry has
    expired; `position`: how far the clean table is. `places`: one row as a rule; none when the
    record was filtered out, when there is no such record, or when it was not read yet. `objects`:
    of the archives.
    """

    position: Position | None
    version: int | None
    at: datetime | None
    places: tuple[Place, ...]
    objects: tuple[str, ...]


def locate(
    clean: Snapshot,
    quarantine: Snapshot,
    archives: Iterable[Archive],
    partition: Partition,
    record: Stretch,
) -> Location:
    """Where the record between the ends of `record` is."""
    wanted = {partition: record}
    places = [
        Place(side.name, row.pop(_FILE), row)
        for side in (clean, quarantine)
        for row in side.located(wanted, _FILE).to_dicts()
    ]
    commit = _commit(clean, partition, record)
    version, at = (None, None) if commit is None else commit
    objects = [archive.holding(partition, record) for archive in archives]
    position = clean.position(partition)
    return Location(position, version, at, tuple(places), tuple(o for o in objects if o))


def _commit(clean: Snapshot, partition: Partition, record: Stretch) -> tuple[int, datetime] | None:
    """Find the newest commit that covers the record."""
    for commit, entry in clean.commits():
        if any(r.of == partition and _covers(r, record) for r in entry.ranges):
            return commit.version, commit.at
    return None


def _covers(r: CommitRange, record: Stretch) -> bool:
    begins = r.start is None or (record.start is not None and r.start <= record.start)
    return begins and record.end <= r.end
