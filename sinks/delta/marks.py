"""What a table says of the replacements of its rows, as `txn` actions: see `sinks.delta.replacing`.

`replaced:<app>` counts them, `replaced:<app>/id` has a digest of the newest one's id.
"""

import hashlib
from typing import NamedTuple

from deltalake import Transaction

from sinks.delta.positions import Lookup

_BITS = 62


class Mark(NamedTuple):
    """How many replacements a table has seen, and the digest of the newest one's id."""

    number: int
    newest: int | None


def read(lookup: Lookup, app: str) -> Mark:
    """Return the mark of a table, by the versions of its application ids."""
    return Mark(lookup(count(app)) or 0, lookup(_newest(app)))


def write(app: str, number: int, id_: str, now_ms: int) -> list[Transaction]:
    """Return the actions that mark the table with replacement number `number`."""
    return [
        Transaction(count(app), number, now_ms),
        Transaction(_newest(app), digest(id_), now_ms),
    ]


def digest(id_: str) -> int:
    """Return the digest of a replacement's id."""
    return int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8]) >> (64 - _BITS)


def count(app: str) -> str:
    """Return the application id that counts the replacements."""
    return f"replaced:{app}"


def _newest(app: str) -> str:
    return f"{count(app)}/id"
