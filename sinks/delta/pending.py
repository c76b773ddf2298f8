"""What the quarantine's entry of a replacement will be, as the clean table's entry says it.

So a crash between both is finished by whoever comes next. Source: `sinks.delta.replacing`.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from deltalake.transaction import AddAction

from sinks.delta import history, ledger
from sinks.delta.ledger import Amendment, Entry
from sinks.delta.selection import Selection
from sinks.storage.protocol import Store

KEY = "pinpipPending"


@dataclass(frozen=True)
class Pending:
    """The records that are replaced, the uploaded files, and what changes of the ledger."""

    id: str
    selection: Selection
    files: list[AddAction]
    changes: tuple[Amendment, ...]


def encoded(own: Pending, number: int) -> dict[str, Any]:
    """Return it as the entry of replacement `number` keeps it."""
    told = Entry(app="", version="", event_time=None, ranges=(), amendments=own.changes)
    return {
        "id": own.id,
        "number": number,
        "selection": own.selection.model_dump(mode="json"),
        "files": [asdict(file) for file in own.files],
        "entry": ledger.encode(told),
    }


def find(store: Store, version: int, number: int) -> Pending | None:
    """Find what replacement `number` left, in the entries up to `version`; None: it expired."""
    for body in history.bodies(store, range(version, -1, -1)):
        if body is None:
            return None
        for line in body.splitlines():
            told = json.loads(line).get("commitInfo", {}).get(KEY) if KEY.encode() in line else None
            if told and told["number"] == number:
                return _decoded(told)
    return None


def _decoded(told: dict[str, Any]) -> Pending:
    files = [AddAction(**file) for file in told["files"]]
    selection = Selection.model_validate(told["selection"])
    return Pending(told["id"], selection, files, ledger.decode(told["entry"]).amendments)
