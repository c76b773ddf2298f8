"""The files of a table's log, by their names.

Source: Delta transaction protocol, "Delta Log Entries" and "Checkpoints".
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sinks.storage.protocol import Store

FOLDER = "_delta_log/"
_NAME = re.compile(
    FOLDER + r"(?P<version>\d{20})\."
    r"(?:(?P<entry>json)|checkpoint\.(?:\d{10}\.(?P<of>\d{10})\.|[0-9a-f-]{36}\.)?(?:parquet|json))"
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint with all its parts; `keys` are their names, `at` is its version."""

    at: int
    keys: tuple[str, ...]


NONE = Checkpoint(-1, ())  # the state before the first entry


@dataclass(frozen=True)
class Listing:
    """The versions of the entries, and the checkpoints whose parts are all there, both sorted."""

    entries: Sequence[int]
    checkpoints: Sequence[Checkpoint]

    def bases(self, version: int | None = None) -> Iterator[Checkpoint]:
        """What the state at `version` (None: the newest) can be read from; NONE comes last."""
        yield from (c for c in reversed(self.checkpoints) if version is None or c.at <= version)
        yield NONE

    def leads(self, base: Checkpoint) -> bool:
        """Whether every entry beyond `base` is there."""
        newest = self.entries[-1] if self.entries else -1
        return sum(version > base.at for version in self.entries) == max(0, newest - base.at)


def listed(store: Store) -> Listing:
    """The whole log."""
    entries, found = list[int](), list[tuple[int, str, int]]()
    for version, key, of in _names(store, FOLDER):
        if of:
            found.append((version, key, of))
        else:
            entries.append(version)
    return Listing(entries, _whole(found))


def at(store: Store, version: int) -> Sequence[Checkpoint]:
    """The checkpoints of one version, which may be of several kinds."""
    keys = store.list(f"{FOLDER}{version:020d}.checkpoint")
    return _whole(_parsed(keys))


def beyond(store: Store, version: int) -> int | None:
    """The version of a checkpoint later than `version`; None when there is none."""
    found = list[tuple[int, str, int]]()
    for name in _names(store, f"{FOLDER}{version + 1:020d}"):
        if name[2]:
            found.append(name)
            whole = _whole(found)
            if whole:
                return whole[0].at
    return None


def _names(store: Store, after: str) -> Iterator[tuple[int, str, int]]:
    """Version, key and number of parts (0: an entry) of the files beyond `after`."""
    more = True
    while more:
        keys, more = store.page(FOLDER, after)
        yield from _parsed(keys)
        after = keys[-1] if keys else after


def _parsed(keys: Iterable[str]) -> Iterator[tuple[int, str, int]]:
    for key in keys:
        match = _NAME.fullmatch(key)
        if match is not None:
            yield int(match["version"]), key, 0 if match["entry"] else int(match["of"] or 1)


def _whole(files: Iterable[tuple[int, str, int]]) -> list[Checkpoint]:
    parts: dict[tuple[int, int], list[str]] = defaultdict(list)
    for version, key, of in files:
        parts[version, of].append(key)
    # A checkpoint of one file is whole by itself, so that a version may have several of them.
    found = [
        Checkpoint(version, tuple(group))
        for (version, of), keys in parts.items()
        for group in ([[key] for key in keys] if of == 1 else [keys])
        if len(group) == of
    ]
    return sorted(found, key=lambda c: (c.at, c.keys))
