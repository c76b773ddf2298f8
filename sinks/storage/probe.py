"""The proof that a store creates a key only once, on which exactly once depends."""

from typing import TYPE_CHECKING

from core.errors import SinkError

if TYPE_CHECKING:
    from sinks.storage.protocol import Store

# One object per store, created once and never removed: it needs no right beyond writing rows, and
# a later start needs one request. Listings, Spark and Delta's VACUUM skip names with a `.` first.
KEY = ".pinpip-probe"
_BODY = b"pinpip creates this object twice at its start: the second time must be refused\n"


def refuse_overwriting(store: "Store") -> None:
    """Raise SinkError unless `store` refuses to create a key that exists.

    Whoever is refused has the proof, so several may start at the same time. A TransientError says
    nothing: the same call may be repeated.
    """
    if store.put_new(KEY, _BODY, {}) and store.put_new(KEY, _BODY, {}):
        raise unconditional(store.uri, f"it created {KEY} twice")


def unconditional(uri: str, why: str) -> SinkError:
    """Return the error for a store that ignores the condition of a conditional write."""
    return SinkError(
        f"{uri}: this store does not honour conditional writes: exactly once cannot be kept on it "
        f"({why})",
        "use a store that answers 412 to If-None-Match on a key that exists (Amazon S3 does), or a "
        "local folder; look for a proxy or gateway between that drops the header",
    )
