"""Which pipeline a table belongs to: a table has one, for rows and positions prove each other.

Kept as a `txn` action, which survives the log's clean-up; its version is a digest of the pipeline's
name. Tables of before have none: there the ledger's newest entries tell.
"""

import hashlib

from pinpip.errors import SinkError
from sinks import windows
from sinks.store import Store

ID = "pinpip/owner"
_BITS = 62  # a version is a signed 64-bit integer


def mark(app: str) -> int:
    """The digest of the pipeline that keeps its positions under `app`, whichever incarnation."""
    digest = hashlib.sha256(_pipeline(app).encode()).digest()
    return int.from_bytes(digest[:8]) >> (64 - _BITS)


def refuse_another(store: Store, app: str, held: int | None, version: int) -> None:
    """Raise SinkError when the table, at `version`, belongs to another pipeline than that of `app`.

    `held` is the mark that the table has.
    """
    if held == mark(app):
        return
    others = {_pipeline(e.app) for e in windows.entries(store, version)} - {_pipeline(app)}
    if held is not None:
        found = [name for name in sorted(others) if mark(f"pinpip/{name}/") == held]
        raise _refused(store, app, found[0] if found else "another pipeline")
    if others:
        raise _refused(store, app, min(others))


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
