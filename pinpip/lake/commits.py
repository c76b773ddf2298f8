"""The newest commits of a table by the entries of its log, each of which is read once."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from core.batch import Position
from core.paths import of_delta_rs
from monitor.view import CommitView
from pinpip.lake.view import COMMITS
from sinks.delta import history
from sinks.delta.ledger import CommitRange, Entry
from sinks.storage.protocol import Store

_LOOKED_AT = 100  # entries: others between pinpip's are of upkeep or of other programs
_NAMED = 8  # ranges of a commit
_LAST_DIGITS = 12  # of a stream's 56
_ACTIONS = (b'"commitInfo"', b'"add"')


@dataclass(frozen=True)
class Commit:
    """One commit of pinpip; `first_event`: the first broker timestamp in it."""

    view: CommitView
    first_event: datetime | None


class Commits:
    """The newest commits in one table; None for an entry of another program or incarnation."""

    def __init__(self) -> None:
        self._known: dict[int, Commit | None] = {}

    def newest(self, store: Store, version: int, app: str) -> list[Commit]:
        """Return the newest commits up to `version`, newest first, as far as the log goes back.

        `app` names the pipeline's positions.
        """
        found = list(islice(self._back_from(store, version, app), COMMITS))
        oldest = version - _LOOKED_AT
        self._known = {n: commit for n, commit in self._known.items() if n > oldest}
        return found

    def _back_from(self, store: Store, version: int, app: str) -> Iterator[Commit]:
        last = max(-1, version - _LOOKED_AT)
        for first in range(version, last, -COMMITS):
            versions = range(first, max(last, first - COMMITS), -1)
            for n in versions:
                if n not in self._known:
                    self._read(store, [v for v in versions if v not in self._known], app)
                if n not in self._known:
                    return  # the log was cleaned up before that
                commit = self._known[n]
                if commit is not None:
                    yield commit

    def _read(self, store: Store, versions: list[int], app: str) -> None:
        for version, body in zip(versions, history.bodies(store, versions), strict=True):
            if body is not None:
                self._known[version] = _commit(version, body, app)


def _commit(version: int, body: bytes, app: str) -> Commit | None:
    """Return what an entry of the log says; None for one of another program or incarnation."""
    entries = list(history.ledgered(body))
    if not entries or entries[0].app != app:
        return None
    info: dict[str, Any] = {}
    files = []
    for line in body.splitlines():
        if any(action in line for action in _ACTIONS):
            action = json.loads(line)
            info = action.get("commitInfo", info)
            files += [action["add"]["path"]] if "add" in action else []
    at = datetime.fromtimestamp(info["timestamp"] / 1000, UTC)
    view = _view(version, at, entries[0], files)
    event_time = entries[0].event_time
    return Commit(view, None if event_time is None else event_time[0])


def _view(version: int, at: datetime, entry: Entry, files: list[str]) -> CommitView:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return CommitView(
        version=version,
        at=at,
        read=sum(r.read for r in entry.ranges),
        clean=sum(r.clean for r in entry.ranges),
        quarantined=sum(r.quarantined for r in entry.ranges),
        ranges=tuple(_ranges(entry.ranges)),
        file=f"{of_delta_rs(files[0])}{more}" if files else None,
    )


def _ranges(ranges: tuple[CommitRange, ...]) -> Iterator[str]:
    for r in ranges[:_NAMED]:
        start = "start" if r.start is None else _short(r.start)
        yield f"{r.of} {start}..{_short(r.end)}"
    if len(ranges) > _NAMED:
        yield f"and {len(ranges) - _NAMED} more partitions"


def _short(position: Position) -> str:
    number = str(position.number)
    return number if len(number) <= 2 * _LAST_DIGITS else f"…{number[-_LAST_DIGITS:]}"
