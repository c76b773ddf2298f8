"""Entries of a log that nobody may read, moved to where they are kept."""

from collections.abc import Mapping
from hashlib import sha256

from sinks.storage.protocol import Store

FOLDER = "_pinpip/aside/"


def move(store: Store, entries: Mapping[str, bytes]) -> None:
    """Move these keys, with the bodies that they had; one that has another by now stays."""
    for key, body in entries.items():
        name = key.rpartition("/")[2].partition(".")[0]
        store.put_new(f"{FOLDER}{name}-{sha256(body).hexdigest()[:8]}.json", body, {})
    for key in sorted(entries, reverse=True):
        store.take_away(key, entries[key])
