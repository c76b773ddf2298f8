"""What a table's log need not keep, and its removal.

Source: Delta transaction protocol, "Metadata Cleanup" and "Checkpoints". Entries and checkpoints
older than the retention go, as far as a checkpoint replaces them. Of the younger checkpoints some
are kept for reading earlier versions; entries without a checkpoint give the same answer. Ages are
differences between times of the store itself: a wrong clock of ours removes nothing.
"""

import re
from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from sinks.delta.log import name_of
from sinks.storage.protocol import Store

FOLDER = "_delta_log/"
GRACE = timedelta(hours=6)  # in which a reader may still use a checkpoint that was superseded
RETENTION = timedelta(days=30)  # where the table sets none
_NEWEST = 2  # checkpoints that are always kept
_SPACING = 4  # older ones are kept once in so many parts of the retention
_AT_ONCE = 64
_EVER = datetime.min.replace(tzinfo=UTC)
_NAME = re.compile(r"(\d{20})\.(?:json|crc|checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet)")
_UNITS = {"second", "minute", "hour", "day", "week", "millisecond", "microsecond"}
_PERIOD = re.compile(r"(\d+)\s+([a-z]+?)s?(?=\s|$)")


@dataclass
class Listing:
    """The files of a log. `known` is false when some are of a kind that this code cannot judge."""

    entries: "array[int]" = field(default_factory=lambda: array("q"))
    checkpoints: dict[int, datetime] = field(default_factory=dict)
    names: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    newest: datetime = _EVER
    known: bool = True

    def has_entries(self, after: int, to: int) -> bool:
        """Whether the entry of every version beyond `after` up to `to` is there."""
        found = bisect_right(self.entries, to) - bisect_right(self.entries, after)
        return found == max(0, to - after)


@dataclass(frozen=True)
class Plan:
    """Versions before `base` go; of later ones the checkpoints that are `thinned`."""

    base: int = 0
    thinned: tuple[int, ...] = ()


def listed(files: Iterable[tuple[str, datetime]]) -> Listing:
    """The files of a log by their names (below the table) and times."""
    found = Listing()
    parts: dict[int, set[str]] = defaultdict(set)
    for key, modified in files:
        name = key.removeprefix(FOLDER)
        if name.startswith("_last_checkpoint"):
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            found.known = False
            continue
        version = int(match[1])
        found.newest = max(found.newest, modified)
        if name.endswith(".json"):
            found.entries.append(version)
            continue
        found.names[version].append(key)
        if name.endswith(".parquet"):
            parts[version].add(name)
            if len(parts[version]) == int(match[3] or 1):
                found.checkpoints[version] = modified
    found.entries = array("q", sorted(found.entries))
    return found


def plan(log: Listing, retention: timedelta, grace: timedelta = GRACE) -> Plan:
    """What may go, so that every version since `Plan.base` can still be read."""
    found = sorted(log.checkpoints)
    if not log.known or len(found) <= _NEWEST or not log.entries:
        return Plan()
    last = log.entries[-1]
    old = [
        v
        for v in found[:-1]
        if log.newest - log.checkpoints[v] > retention and log.has_entries(v, last)
    ]
    base = max(old, default=0)
    since = [v for v in found if v >= base]
    return Plan(base, tuple(_thinned(log, base, since, retention, grace)))


def _thinned(
    log: Listing, base: int, since: list[int], retention: timedelta, grace: timedelta
) -> Iterator[int]:
    """The superseded checkpoints that lie close behind one that is kept."""
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
    log: Listing, kept: int, version: int, following: int, retention: timedelta, grace: timedelta
) -> bool:
    """Whether what `version` answers is answered as well by the checkpoint `kept` and entries."""
    times = log.checkpoints
    close = times[version] - times[kept] < retention / _SPACING
    superseded = log.newest - times[following] > grace
    return close and superseded and log.has_entries(kept, version)


def keys_of(log: Listing, plan: Plan) -> Iterator[list[str]]:
    """The keys that go, some at a time: an entry is never gone before all that is older."""
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
    """Remove what may go; how many files that were.

    `settle` is told a version before anything is removed: it keeps what the entries before it say
    and no checkpoint does. Raises what the store raises, SinkError when the right is missing.
    """
    log = listed(store.scan(FOLDER))
    wanted = plan(log, retention)
    early = plan(log, retention / 2).base  # before another engine's clean-up comes to it
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
    """The retention that a table property says; None when it cannot be understood."""
    if text is None:
        return RETENTION
    words = text.strip().lower().removeprefix("interval").strip()
    found = _PERIOD.findall(words)
    if not found or _PERIOD.sub("", words).strip() or {unit for _, unit in found} - _UNITS:
        return None
    return sum((timedelta(**{f"{unit}s": int(n)}) for n, unit in found), timedelta())
