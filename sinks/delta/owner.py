"""Which pipeline a table belongs to: a table has one, for rows and positions prove each other.

Kept as a `txn` action, which survives the log's clean-up; its version is a digest of the pipeline's
name. Tables of before have none: there the ledger's newest entries tell.
"""

import hashlib
from collections.abc import Iterator

from deltalake import Transaction

from core.batch import Positions
from core.errors import SinkError
from sinks.delta import windows
from sinks.delta.deltalog import Log
from sinks.delta.target import Target
from sinks.delta.transactions import Lookup
from sinks.storage.protocol import Store

ID = "pinpip/owner"
_BITS = 62  # a version is a signed 64-bit integer


def mark(app: str) -> int:
    """The digest of the pipeline that keeps its positions under `app`, whichever incarnation."""
    digest = hashlib.sha256(_pipeline(app).encode()).digest()
    return int.from_bytes(digest[:8]) >> (64 - _BITS)


def claim(lookup: Lookup, app: str, now_ms: int) -> Iterator[Transaction]:
    """What makes the pipeline of `app` the owner, unless it is."""
    if lookup(ID) != mark(app):
        yield Transaction(ID, mark(app), now_ms)


def refuse_another(store: Store, target: Target, log: Log, own: Positions) -> None:
    """Raise SinkError when the table belongs to another pipeline and is not taken over on purpose.

    A table without an owner is ours if it has a position of ours, in `own`.
    """
    held = log.transaction_version(ID)
    if target.begins or held == mark(target.app) or (held is None and any(own.values())):
        return
    others = {_pipeline(entry.app) for entry in windows.entries(store, log.version)}
    others.discard(_pipeline(target.app))
    if held is not None:
        named = [name for name in sorted(others) if mark(f"pinpip/{name}/") == held]
        raise _refused(store, target.app, named[0] if named else "another pipeline")
    if others:
        raise _refused(store, target.app, min(others))


def _pipeline(app: str) -> str:
    """The name in `pinpip/<pipeline>/<incarnation>`."""
    return app.split("/")[1]


def _refused(store: Store, app: str, other: str) -> SinkError:
    own = _pipeline(app)
    return SinkError(
        f"table {store.uri} belongs to {other}, not to {own}: two pipelines cannot share a table",
        f"name another table for {own} in config.yaml. Was the pipeline renamed? Give it its old "
        "name, or a new `incarnation` and start once with --new-incarnation",
    )
