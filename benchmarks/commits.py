"""Follow a table's commits in its log.

Looking for the next version costs one lookup of a file name; opening the table as often would
distort the measurement. Times are those of the commit files, not of the observer.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

Read = Callable[[str], tuple[float, bytes] | None]


@dataclass(frozen=True)
class ObservedCommit:
    """One version: when it became visible (wall clock, seconds), its rows, its data files."""

    version: int
    at: float
    rows: int
    files: tuple[str, ...]


@dataclass
class CommitFollower:
    """The commits seen so far; `read` returns a log file and its time, None before it exists."""

    read: Read
    commits: list[ObservedCommit] = field(default_factory=list)
    rows: int = 0

    def advance(self) -> int:
        """Read the new commits; return the number of rows."""
        while (found := self.read(f"{len(self.commits):020}.json")) is not None:
            commit = _parsed(len(self.commits), *found)
            self.commits.append(commit)
            self.rows += commit.rows
        return self.rows

    def first(self) -> ObservedCommit | None:
        """Return the first commit with rows."""
        return next((commit for commit in self.commits if commit.rows), None)

    def last(self) -> ObservedCommit | None:
        """Return the last commit with rows."""
        return next((commit for commit in reversed(self.commits) if commit.rows), None)


def _parsed(version: int, at: float, body: bytes) -> ObservedCommit:
    actions = [json.loads(line) for line in body.splitlines() if line.strip()]
    adds = [action["add"] for action in actions if "add" in action]
    rows = sum(json.loads(add["stats"])["numRecords"] for add in adds)
    return ObservedCommit(version, at, rows, tuple(add["path"] for add in adds))


@dataclass(frozen=True)
class ObservedTable:
    """A table to follow: `read` as in CommitFollower, `open` a data file by its path."""

    read: Read
    open: Callable[[str], Path | BytesIO]


def local_table(table: Path) -> ObservedTable:
    """Return a table on this disk."""
    return ObservedTable(local(table), lambda file: table / file)


def local(table: Path) -> Read:
    """Return a reader of the log of a table on this disk."""

    def read(name: str) -> tuple[float, bytes] | None:
        path = table / "_delta_log" / name
        try:
            return path.stat().st_mtime, path.read_bytes()
        except FileNotFoundError:
            return None

    return read
