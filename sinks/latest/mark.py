"""How far a latest table has followed: `txn` actions in the same entry as its rows.

For each of the two tables that it is a view of, the version and the table's id, of which a txn
holds 62 bits; and a digest of the view's definition. Source: Delta transaction protocol,
"Transaction Identifiers".
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from hashlib import sha256

from deltalake import DeltaTable, Transaction

from sinks.delta.txns import Application
from sinks.latest.view import View

APP = "pinpip/latest"
LAYOUT = "1"  # of the files and of the rule; another one is built again
NO_TABLE = (0, -1)
_NAMES = ("definition", "table", "version", "quarantine-table", "quarantine-version")


@dataclass(frozen=True)
class Mark:
    """The definition of a view, and each table's id and version that it shows."""

    definition: int
    table: int
    version: int
    quarantine_table: int = NO_TABLE[0]
    quarantine_version: int = NO_TABLE[1]

    @property
    def clean(self) -> tuple[int, int]:
        """The append table: its id and version."""
        return self.table, self.version

    @property
    def rejected(self) -> tuple[int, int]:
        """The quarantine: its id and version."""
        return self.quarantine_table, self.quarantine_version

    def txns(self, now_ms: int) -> list[Transaction]:
        """Return the actions that store it."""
        told = zip(_NAMES, astuple(self), strict=True)
        return [Transaction(f"{APP}/{name}", number, now_ms) for name, number in told]


def stored(found: Mapping[str, Application]) -> Mark | None:
    """Return the mark among a latest table's application ids; None: it shows nothing yet."""
    apps = [found.get(f"{APP}/{name}") for name in _NAMES]
    return None if None in apps else Mark(*(own.version for own in apps if own))


def definition_of(view: View) -> int:
    """Return the digest of what decides which rows are the latest."""
    return _digest(LAYOUT, view.key, view.order, view.coordinates.kind)


def seen(table: DeltaTable | None) -> tuple[int, int]:
    """Return a table's id and version."""
    if table is None:
        return NO_TABLE
    return _digest(str(table.metadata().id)), table.version()


def _digest(*texts: str) -> int:
    return int.from_bytes(sha256("\0".join(texts).encode()).digest()[:8]) >> 2
