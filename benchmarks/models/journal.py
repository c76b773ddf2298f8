"""What a model was requested, by kind."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

ARCHIVE = "archive"


class Entry(NamedTuple):
    """One response: when (wall clock), to what kind of request, its status, bytes, seconds."""

    at: float
    kind: str
    status: int
    size: int
    seconds: float


@dataclass
class Journal:
    """The responses since the start, or since the last reset."""

    entries: list[Entry] = field(default_factory=list)

    def note(self, kind: str, status: int, size: int, seconds: float) -> None:
        """Add a response of this moment."""
        self.entries.append(Entry(time.time(), kind, status, size, seconds))

    def dump(self) -> bytes:
        """Return the entries as JSON."""
        return json.dumps(self.entries).encode()


def kind_of(method: str, key: str) -> str:
    """Name a request: `PUT log`, `GET data`, `LIST archive`."""
    if key.startswith(f"{ARCHIVE}/") or key == ARCHIVE:
        return f"{method} {ARCHIVE}"
    return f"{method} {'log' if '_delta_log' in key else 'data'}"


def counted(entries: Iterable[Entry], begin: float, end: float) -> Counter[str]:
    """Count the responses of (begin, end] by kind."""
    return Counter(entry.kind for entry in entries if begin < entry.at <= end)
