"""A table's commits, read from its log as they appear.

To ask for the next version costs one look at one file name; to open a table as often would take
the cores from what is measured. Times are the commit files' own, not the observer's.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Read = Callable[[str], tuple[float, bytes] | None]


@dataclass(frozen=True)
class Commit:
    """One version: when it became visible (seconds, wall clock), its rows, its data files."""

    version: int
    at: float
    rows: int
    files: tuple[str, ...]


@dataclass
class Log:
    """The commits seen so far; `read` fetches one log file with its time, None when it is not."""

    read: Read
    commits: list[Commit] = field(default_factory=list)
    rows: int = 0

    def advance(self) -> int:
        """Read what was committed since; the rows there are now."""
        while (found := self.read(f"{len(self.commits):020}.json")) is not None:
            commit = _parsed(len(self.commits), *found)
            self.commits.append(commit)
            self.rows += commit.rows
        return self.rows

    def first(self) -> Commit | None:
        """Return the first commit with rows."""
        return next((commit for commit in self.commits if commit.rows), None)

    def last(self) -> Commit | None:
        """Return the last commit with rows."""
        return next((commit for commit in reversed(self.commits) if commit.rows), None)


def _parsed(version: int, at: float, body: bytes) -> Commit:
    actions = [json.loads(line) for line in body.splitlines() if line.strip()]
    adds = [action["add"] for action in actions if "add" in action]
    rows = sum(json.loads(add["stats"])["numRecords"] for add in adds)
    return Commit(version, at, rows, tuple(add["path"] for add in adds))


def local(table: Path) -> Read:
    """Return a reader of the log of a table on this disk."""

    def read(name: str) -> tuple[float, bytes] | None:
        path = table / "_delta_log" / name
        try:
            return path.stat().st_mtime, path.read_bytes()
        except FileNotFoundError:
            return None

    return read


def on_s3(client: Any, bucket: str, table: str) -> Read:
    """Return a reader of a log on S3; times are the observer's, S3 has whole seconds only."""

    def read(name: str) -> tuple[float, bytes] | None:
        try:
            answer = client.get_object(Bucket=bucket, Key=f"{table}/_delta_log/{name}")
        except client.exceptions.NoSuchKey:
            return None
        return time.time(), answer["Body"].read()

    return read
