"""Read a pipeline's Parquet archive back: its chains, and the rows of a range."""

import io
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import accumulate, dropwhile, pairwise
from typing import Literal

import polars as pl

from audit.invariants import Finding, FindingKind, TablePartition, text
from core.batch import Coordinates, Partition, Position, Stretch, reaches
from core.errors import PositionLost
from sinks.delta.history import LedgerCommit
from sinks.delta.ledger import Entry
from sinks.parquet import chain
from sinks.parquet.chain import Link
from sinks.storage.protocol import Store

_READ_THREADS = 8
Commits = Sequence[tuple[LedgerCommit, Entry]]


@dataclass(frozen=True)
class Archive:
    """The chains that a pipeline's Parquet sink writes below `store`.

    The objects of a chain are listed once: objects added later are not seen. `due`: what the table
    committed later need not be archived yet, since the sink holds it; None: everything must be.
    """

    store: Store
    stage: Literal["raw", "clean"]
    coordinates: Coordinates
    due: datetime | None = None
    _keys: dict[Partition, list[str]] = field(default_factory=dict, repr=False)
    _ends: dict[Partition, Position | None] = field(default_factory=dict, repr=False)
    _listed: set[str] = field(default_factory=set, repr=False)

    @property
    def name(self) -> str:
        """The URI."""
        return self.store.uri

    def look(self, sources: Iterable[str]) -> None:
        """List the chains of these topics or streams now.

        Read after it, the table is ahead of the archive, as long as nothing is wrong with both.
        """
        for source in sources:
            found: dict[str, list[str]] = defaultdict(list)
            for key in self.store.list(f"{source}/partition="):
                found[key.split("/")[1].removeprefix("partition=")].append(key)
            self._keys.update({Partition(source, id_): keys for id_, keys in found.items()})
            self._listed.add(source)

    def keys(self, partition: Partition) -> list[str]:
        """Return the keys of the chain's objects, in order."""
        if partition not in self._keys and partition.source not in self._listed:
            self._keys[partition] = self.store.list(chain.folder(partition))
        return self._keys.get(partition, [])

    def begin(self, partition: Partition) -> Position | None:
        """Return where the chain begins since older objects were removed; None: they are there."""
        keys = self.keys(partition)
        first = chain.start_of(keys[0]) if keys else Position(0)
        return first if first > Position(0) else None

    def forget_expired(self, partition: Partition) -> None:
        """Pass over the first objects that were removed since they were listed."""
        there = set(self.store.list(chain.folder(partition)))
        self._keys[partition] = [*dropwhile(lambda key: key not in there, self.keys(partition))]

    def end(self, partition: Partition) -> Position | None:
        """Return where the chain ends, None for an empty or unreadable chain."""
        if partition not in self._ends:
            keys = self.keys(partition)
            self._ends[partition] = _end(self.store, keys[-1]) if keys else None
        return self._ends[partition]

    def rows(self, stretches: Mapping[Partition, Stretch]) -> pl.DataFrame:
        """Return the rows of the stretches; reads only objects that may hold some of them.

        An object that retention has removed meanwhile has none: `begin` then lies behind it.
        """
        wanted = [
            (p, key) for p, stretch in stretches.items() for key in self._touching(p, stretch)
        ]
        with ThreadPoolExecutor(_READ_THREADS) as pool:
            bodies = list(pool.map(lambda one: _read(self.store, one[1]), wanted))
        for partition in {p for (p, _), rows in zip(wanted, bodies, strict=True) if rows is None}:
            self.forget_expired(partition)
        found = [rows for rows in bodies if rows is not None]
        none = pl.DataFrame(schema=dict(self.coordinates.metadata))
        whole = pl.concat([none, *found], how="diagonal")
        return whole.filter(self.coordinates.within(stretches))

    def holding(self, partition: Partition, record: Stretch) -> str | None:
        """Return the object that holds the record of the range `record`, None without one."""
        end = self.end(partition)
        found = self._touching(partition, Stretch(record.start, record.start or record.end))
        here = bool(found) and end is not None and record.end <= end
        return f"{self.name}/{found[-1]}" if here else None

    def _touching(self, partition: Partition, stretch: Stretch) -> list[str]:
        """Return the objects that may hold rows of the range; names are start positions."""
        keys = self.keys(partition)
        first = 0
        if stretch.start is not None:
            first = max(0, bisect_right(keys, stretch.start, key=chain.start_of) - 1)
        return keys[first : bisect_right(keys, stretch.end, key=chain.start_of)]


def _end(store: Store, key: str) -> Position | None:
    try:
        about = chain.about(store, key)
        return replace(chain.position(about["end"]), epoch=about.get("epoch"))
    except PositionLost:
        return None  # `check` reports it


def _read(store: Store, key: str) -> pl.DataFrame | None:
    """Return the object's rows, none when it cannot be read: they are then reported missing.

    None: the object does not exist.
    """
    body = store.find(key)
    try:
        return None if body is None else pl.read_parquet(io.BytesIO(body))
    except pl.exceptions.PolarsError:
        return pl.DataFrame()


@dataclass(frozen=True)
class ChainSummary:
    """The counts of one partition's chain; `waiting`: records that need not be in it yet."""

    archive: str
    partition: Partition
    objects: int
    records: int
    start: Position | None
    end: Position | None
    expired: int = 0
    waiting: int = 0

    @property
    def begins_late(self) -> bool:
        """Whether its first objects were removed: a chain begins at 0."""
        return self.start is not None and self.start > Position(0)


def check(
    archive: Archive, clean: TablePartition, commits: Commits = ()
) -> tuple[list[Finding], ChainSummary]:
    """Check that a partition's chain has no gap and agrees with the clean table's ledger.

    The oldest objects may have expired, also since they were listed: where the chain begins is not
    checked. Reads each object's metadata (S3: headers, a folder: footers), not its rows. `commits`:
    those of the clean table, newest first; they date what the archive lacks.
    """
    read = list(chain.links(archive.store, archive.keys(clean.partition)))
    if None in read:
        archive.forget_expired(clean.partition)
    found = [link for link in read if link is not None]  # one from the middle leaves a hole
    links = [link for link in found if isinstance(link, Link)]
    silent = [error.message for error in found if isinstance(error, PositionLost)]
    faults = [
        *silent,
        *_broken(found),
        *([] if silent else _disagreeing(archive, links, clean)),
    ]
    findings = [
        Finding(FindingKind.ARCHIVE, clean.partition, f"{archive.name}: {f}") for f in faults
    ]
    end = links[-1].end if links else None
    begun = end or clean.origin  # without an object nothing has been read
    is_behind = not silent and clean.position is not None and not reaches(begun, clean.position)
    waiting = _waiting(archive, clean, begun, commits) if is_behind else None
    if is_behind and waiting is None:
        behind = f"{archive.name}: the chain ends at {text(end)}, the table at "
        findings.append(Finding(FindingKind.BEHIND, clean.partition, behind + text(clean.position)))
    elif end is not None and (clean.position is None or clean.position < end):
        behind = f"{clean.table}: it is at {text(clean.position)}, {archive.name} at {text(end)}"
        findings.append(Finding(FindingKind.BEHIND, clean.partition, behind))
    start = links[0].start if links else None
    records, expired = (sum(getattr(link, n) for link in links) for n in ("records", "expired"))
    counts = len(found), records, start, end, expired, waiting or 0
    return findings, ChainSummary(archive.name, clean.partition, *counts)


def _waiting(
    archive: Archive, clean: TablePartition, end: Position | None, commits: Commits
) -> int | None:
    """Return how many records beyond `end` the sink may still hold; None if that is too long ago.

    The first commit that went beyond `end` must be in the log, to tell when that was.
    """
    beyond = [r for r in clean.ranges if not reaches(end, r.end)]
    found = [
        (commit.at, r)
        for commit, entry in commits
        for r in entry.ranges
        if r.of == clean.partition and not reaches(end, r.end)
    ]
    if archive.due is None or not found or len(found) < len(beyond):
        return None
    at, first = found[-1]
    if at < archive.due or not (first.start is None or reaches(end, first.start)):
        return None
    return sum(r.read - r.left_out if archive.stage == "raw" else r.clean for r in beyond)


def _broken(found: Sequence[Link | PositionLost]) -> Iterator[str]:
    """Yield the objects whose name is not their start, or whose start is not the previous end."""
    for link in found:
        if isinstance(link, Link) and link.named != link.start:
            yield f"{link.key} says that it starts at {text(link.start)}"
    for before, after in pairwise(found):
        if not (isinstance(before, Link) and isinstance(after, Link)):
            continue
        if before.end != after.named:
            yield f"{before.key} ends at {text(before.end)}, the next object is {after.key}"
        lives = {before.end.epoch, after.end.epoch} - {None}
        if len(lives) > 1:
            yield f"{after.key} is of another topic or stream than {before.key}"


def _disagreeing(archive: Archive, links: Sequence[Link], clean: TablePartition) -> Iterator[str]:
    """Compare record counts between positions at which both an object and a commit end.

    An archive that was behind when records expired may lack further records: it stores how many.
    """
    raw = archive.stage == "raw"
    wanted = [r.read - r.left_out if raw else r.clean for r in clean.ranges]
    ends = [r.end for r in clean.ranges]
    ledger = dict(zip(ends, _sums(wanted, [r.expired for r in clean.ranges]), strict=True))
    own = _sums([link.records for link in links], [link.expired for link in links])
    chained = zip(links, own, strict=True)
    shared = [(link.end, n, ledger[link.end]) for link, n in chained if link.end in ledger]
    # After retention: what lies before is not known.
    if links and links[0].named > Position(0) and links[0].named in ledger:
        shared.insert(0, (links[0].named, (0, 0), ledger[links[0].named]))
    for (start, *before), (end, *after) in pairwise(shared):
        (archived, lost), (read, expired) = (
            (b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after, strict=True)
        )
        if not 0 <= read - archived <= max(0, lost - expired):
            yield f"{archived} records instead of {read} between {text(start)} and {text(end)}"


def _sums(records: Sequence[int], expired: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(accumulate(records), accumulate(expired), strict=True))
