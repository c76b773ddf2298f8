"""What entries of a table's log changed: the files to read after a version.

Source: Delta transaction protocol, "Add File and Remove File": an action with `dataChange` false
only arranges rows that were there before.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from core.errors import SinkError
from core.paths import of_delta_rs
from core.protocols import Options
from sinks.delta.commit_log import Action
from sinks.delta.history import bodies
from sinks.delta.log import damaged_entry, name_of
from sinks.delta.scan import TableReader
from sinks.delta.target import Tables
from sinks.latest.mark import NO_TABLE, Mark
from sinks.storage.protocol import Store
from sinks.storage.store import of_table

BUDGET = 32 * 2**20  # bytes of the data files that a step reads, about


@dataclass(frozen=True)
class Changes:
    """What the entries up to the version `to` changed.

    `added`: files with rows to take. `replaced`: files that lost or replaced rows, or hold the
    replacements: what was said of their keys is void. `masked`: some rows were removed by a
    deletion vector, so no file says which.
    """

    to: int
    added: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    masked: bool = False


class Both(NamedTuple):
    """What changed in the append table, and in its quarantine."""

    clean: Changes
    rejected: Changes


def since(at: Mark | None, mark: Mark, own: Tables) -> Both | str:
    """Return what changed between two marks, or why the entries between them do not tell."""
    if at is None:
        return "it is new"
    if at.definition != mark.definition:
        return "its key, its order or its layout is another"
    if at.table != mark.table or at.version > mark.version:
        return "the append table was replaced"
    is_new = at.rejected == NO_TABLE
    if not is_new and (at.quarantine_table != mark.quarantine_table or at.rejected > mark.rejected):
        return "the quarantine was replaced"
    clean = changes(of_table(own.clean, own.options), at.version, mark.version, BUDGET)
    store = of_table(own.quarantine, own.options)
    rejected = changes(store, at.quarantine_version, mark.quarantine_version, None)
    if clean is None or rejected is None:
        return "entries that it has not followed were cleaned up"
    return Both(clean, rejected)


def is_gone(uri: str, options: Options, reader: TableReader, changed: Changes) -> bool:
    """Return whether a file to read was removed from the store by now."""
    there = set(reader.files["path"])
    others = [p for p in (*changed.added, *changed.replaced) if p not in there]
    store = of_table(uri, options)
    return any("://" in p or store.metadata(of_delta_rs(p)) is None for p in others)


def changes(store: Store, after: int, newest: int, budget: int | None) -> Changes | None:
    """Read the entries after `after`, until their files exceed `budget` bytes (None: all).

    Return None when an entry is gone. Raises SinkError for a damaged one.
    """
    to, size, masked = after, 0, False
    added: list[str] = []
    replaced: list[str] = []
    for version, actions in _entries(store, range(after + 1, newest + 1)):
        if actions is None:
            return None
        to = version
        adds, removes = _changing(actions, "add"), _changing(actions, "remove")
        masked |= any(action.get("deletionVector") for action in [*adds, *removes])
        paths = [action["path"] for action in adds]
        (replaced if removes else added).extend(paths)
        replaced += [action["path"] for action in removes]
        size += sum(action.get("size") or 0 for action in adds)
        if budget is not None and size >= budget:
            break
    return Changes(to, tuple(added), tuple(dict.fromkeys(replaced)), masked)


def _entries(store: Store, versions: range) -> Iterator[tuple[int, list[Action] | None]]:
    for version, body in zip(versions, bodies(store, versions), strict=True):
        try:
            lines = None if body is None else [json.loads(line) for line in body.splitlines()]
        except ValueError as error:
            raise damaged_entry(store.uri, name_of(version), error) from error
        if lines is not None and not all(isinstance(line, dict) for line in lines):
            raise SinkError(f"{store.uri}/{name_of(version)} is no entry of a log")
        yield version, lines


def _changing(actions: list[Action], kind: str) -> list[Action]:
    return [a[kind] for a in actions if kind in a and a[kind].get("dataChange", True)]
