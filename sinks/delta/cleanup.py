"""Removal of the files of a table's log that nobody needs any more.

Source: Delta transaction protocol, "Metadata Cleanup" and "Checkpoints". Entries and checkpoints
older than the retention are removed if a checkpoint replaces them. Some of the younger checkpoints
are kept to read earlier versions; between them the entries suffice. Ages are differences between
times of the store: a wrong local clock removes nothing.
"""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from sinks.delta.listing import FOLDER, parsed
from sinks.delta.log import HINT, name_of
from sinks.storage.protocol import Store

GRACE = timedelta(hours=6)  # for readers that still use a superseded checkpoint
PROPERTY = "delta.logRetentionDuration"
RETENTION = timedelta(days=30)  # of a table that sets none
_NEWEST = 2  # checkpoints that are always kept
_SPACING = 4  # of the others, one is kept per this fraction of the retention
_AT_ONCE = 64
_EVER = datetime.min.replace(tzinfo=UTC)
_UNITS = {"second", "minute", "hour", "day", "week", "millisecond", "microsecond"}
_PERIOD = re.compile(r"(\d+)\s+([a-z]+?)s?(?=\s|$)")


@dataclass
class DatedListing:
    """The files of a log. `known` is false when some are of a kind that this code does not know."""

    entries: "array[int]" = field(default_factory=lambda: array("q"))
    checkpoints: dict[int, datetime] = field(default_factory=dict)
    names: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    newest: datetime = _EVER
    known: bool = True

    def has_entries(self, after: int, to: int) -> bool:
        """Return whether the entry of every version beyond `after` up to `to` is there."""
        found = bisect_right(self.entries, to) - bisect_right(self.entries, after)
        return found == max(0, to - after)


@dataclass(frozen=True)
class CleanupPlan:
    """Remove the versions before `base`; of later ones only the checkpoints in `thinned`."""

    base: int = 0
    thinned: tuple[int, ...] = ()


def listed(files: Iterable[tuple[str, datetime]]) -> DatedListing:
    """Sort the files of a log by their names (below the table) and times."""
    found = DatedListing()
    parts: dict[int, set[str]] = defaultdict(set)
    for key, modified in files:
        if key.startswith(HINT):
            continue
        file = parsed(key)
        if file is None or file.is_v2:
            found.known = False
            continue
        found.newest = max(found.newest, modified)
        if file.is_entry:
            found.entries.append(file.version)
            continue
        found.names[file.version].append(key)
        if file.parts:
            parts[file.version].add(key)
            if len(parts[file.version]) == file.parts:
                found.checkpoints[file.version] = modified
    found.entries = array("q", sorted(found.entries))
    return found


def plan(log: DatedListing, retention: timedelta, grace: timedelta = GRACE) -> CleanupPlan:
    """Choose the files to remove, so that each version from `base` on can still be read."""
    found = sorted(log.checkpoints)
    if not log.known or len(found) <= _NEWEST or not log.entries:
        return CleanupPlan()
    last = log.entries[-1]
    old = [
        v
        for v in found[:-1]
        if log.newest - log.checkpoints[v] > retention and log.has_entries(v, last)
    ]
    base = max(old, default=0)
    since = [v for v in found if v >= base]
    return CleanupPlan(base, tuple(_thinned(log, base, since, retention, grace)))


def _thinned(
    log: DatedListing, base: int, since: list[int], retention: timedelta, grace: timedelta
) -> Iterator[int]:
    """Yield the superseded checkpoints that are close behind one that is kept."""
    kept: int | None = base if base in log.checkpoints else None
    for version, following in pairwise(since[: -_NEWEST + 1]):
        if (
            kept is not None
            and version > kept
            and _is_needless(log, kept, version, following, retention, grace)
        ):
            yield version
        else:
            kept = version


def _is_needless(
    log: DatedListing,
    kept: int,
    version: int,
    following: int,
    retention: timedelta,
    grace: timedelta,
) -> bool:
    """Return whether the checkpoint `kept` and the entries after it replace that of `version`."""
    times = log.checkpoints
    close = times[version] - times[kept] < retention / _SPACING
    superseded = log.newest - times[following] > grace
    return close and superseded and log.has_entries(kept, version)


def keys_of(log: DatedListing, plan: CleanupPlan) -> Iterator[list[str]]:
    """Yield the keys to remove, some at a time; an entry is never removed before older files."""
    for version in plan.thinned:
        yield log.names[version]
    oldest = min([*log.names, *log.entries[:1]], default=plan.base)
    group: list[str] = []
    for version in range(oldest, plan.base):
        group += log.names.get(version, [])
        at = bisect_left(log.entries, version)
        if at < len(log.entries) and log.entries[at] == version:
            group.append(name_of(version))
        if len(group) >= _AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def clean_up(
    store: Store,
    retention: timedelta,
    settle: Callable[[int], None],
    is_over: Callable[[], bool],
) -> int:
    """Remove the files that nobody needs; return how many.

    `settle` is called with a version before anything is removed: it stores what only the entries
    before that version say. Raises what the store raises, SinkError when the right is missing.
    """
    log = listed(store.scan(FOLDER))
    wanted = plan(log, retention)
    early = plan(log, retention / 2).base  # before another engine removes them
    if early:
        settle(early)
    removed = 0
    for keys in keys_of(log, wanted):
        if is_over():
            break
        store.remove(keys)
        removed += len(keys)
    return removed


def period(text: str | None) -> timedelta | None:
    """Parse the retention in a table property; None when it cannot be parsed."""
    if text is None:
        return RETENTION
    words = text.strip().lower().removeprefix("interval").strip()
    found = _PERIOD.findall(words)
    if not found or _PERIOD.sub("", words).strip() or {unit for _, unit in found} - _UNITS:
        return None
    return sum((timedelta(**{f"{unit}s": int(n)}) for n, unit in found), timedelta())
