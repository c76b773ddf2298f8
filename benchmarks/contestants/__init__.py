"""The contestants: each module is a program that writes a topic's pins to the table FOLDER/pin.

They run in separate processes, the peers in separate environments: this module uses the standard
library only. All store `_partition` and `_offset`, by which their rows are checked.
"""

import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

BATCH = 50_000


class Task(NamedTuple):
    """The command line of a contestant."""

    bootstrap: str
    topic: str
    folder: Path
    records: int

    @property
    def table(self) -> str:
        """The table for the rows."""
        return str(self.folder / "pin")


def task() -> Task:
    """Return the task of this process."""
    bootstrap, topic, folder, records = sys.argv[1:]
    return Task(bootstrap, topic, Path(folder), int(records))


def note(folder: Path, moment: str) -> None:
    """Record the time of `moment`: `ready`, `first` (records read) or `done`."""
    with (folder / "marks").open("a", encoding="utf-8") as out:
        out.write(json.dumps([moment, time.time(), time.process_time()]) + "\n")


def marks(folder: Path) -> dict[str, float]:
    """Return the recorded moments (wall clock), the earliest of several processes."""
    found: dict[str, float] = {}
    for moment, at, _ in _noted(folder):
        found[moment] = min(at, found.get(moment, at))
    return found


def spent(folder: Path, moment: str) -> float:
    """Return the CPU seconds of the processes at `moment`."""
    return sum(cpu for noted, _, cpu in _noted(folder) if noted == moment)


def _noted(folder: Path) -> list[tuple[str, float, float]]:
    path = folder / "marks"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(moment, at, cpu) for moment, at, cpu in map(json.loads, lines)]
