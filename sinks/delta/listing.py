"""The files of a table's log, by their names.

Source: Delta transaction protocol, "Delta Log Entries" and "Checkpoints".
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sinks.storage.protocol import Store

FOLDER = "_delta_log/"
_NAME = re.compile(
    FOLDER + r"(?P<version>\d{20})\.(?:(?P<entry>json)|(?P<crc>crc)|"
    r"checkpoint\.(?:\d{10}\.(?P<of>\d{10})\.|(?P<uuid>[0-9a-f-]{36})\.)?(?P<kind>parquet|json))"
)


class LogFile(NamedTuple):
    """A file of the log by its name: of a checkpoint one of `parts`, 0 for other kinds.

    `is_v2`: it belongs to a checkpoint of version 2 of the format, which refers to more files.
    """

    version: int
    is_entry: bool
    parts: int
    is_v2: bool


def parsed(key: str) -> LogFile | None:
    """Parse the key of a file of the log; None for one of another kind."""
    found = _NAME.fullmatch(key)
    if found is None:
        return None
    is_checkpoint = not (found["entry"] or found["crc"])
    is_v2 = bool(found["uuid"]) or found["kind"] == "json"
    parts = int(found["of"] or 1) if is_checkpoint else 0
    return LogFile(int(found["version"]), bool(found["entry"]), parts, is_v2)


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
        """Yield what to read the state at `version` (None: the newest) from; NONE comes last."""
        yield from (c for c in reversed(self.checkpoints) if version is None or c.at <= version)
        yield NONE

    def leads(self, base: Checkpoint) -> bool:
        """Return whether every entry beyond `base` is there."""
        newest = self.entries[-1] if self.entries else -1
        return sum(version > base.at for version in self.entries) == max(0, newest - base.at)


def listed(store: Store) -> Listing:
    """List the whole log."""
    entries, found = list[int](), list[tuple[int, str, int]]()
    for version, key, of in _names(store, FOLDER):
        if of:
            found.append((version, key, of))
        else:
            entries.append(version)
    return Listing(entries, _whole(found))


def at(store: Store, version: int) -> Sequence[Checkpoint]:
    """List the checkpoints of one version, which may be of several kinds."""
    keys = store.list(f"{FOLDER}{version:020d}.checkpoint")
    return _whole(_known(keys))


def beyond(store: Store, version: int) -> int | None:
    """Return the version of the first checkpoint later than `version`; None when there is none."""
    found = list[tuple[int, str, int]]()
    for name in _names(store, f"{FOLDER}{version + 1:020d}"):
        if name[2]:
            found.append(name)
            whole = _whole(found)
            if whole:
                return whole[0].at
    return None


def _names(store: Store, after: str) -> Iterator[tuple[int, str, int]]:
    """Yield version, key and number of parts (0: an entry) of the files beyond `after`."""
    more = True
    while more:
        keys, more = store.page(FOLDER, after)
        yield from _known(keys)
        after = keys[-1] if keys else after


def _known(keys: Iterable[str]) -> Iterator[tuple[int, str, int]]:
    for key in keys:
        file = parsed(key)
        if file is not None and (file.is_entry or file.parts):
            yield file.version, key, file.parts


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
