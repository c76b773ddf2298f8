"""Entries that a writer put after the log before them was deleted or restored to an older copy.

Nobody can read them, nor the table, as long as they are there. A writer looks at the log every
`watch.LOOK_EVERY` commits, so there are few of them. Their records are read again from the source:
the positions are those of the last entry before the hole. They are kept in `aside.FOLDER`: a log
from whose middle an entry was deleted looks the same, and a backup of that may turn up.
"""

import json

import structlog

from core.protocols import Options
from sinks.delta import aside, listing, watch
from sinks.delta.listing import Listing
from sinks.delta.log import name_of
from sinks.storage.store import of_table

MOST = 2 * watch.LOOK_EVERY  # more of them are another damage
_OURS = "pinpip/"
_log = structlog.get_logger()


def set_aside(uri: str, options: Options) -> bool:
    """Move a few own entries beyond a hole out of the log; return whether there were some.

    An entry is missing if two listings do not show it: one alone may have been overtaken.
    """
    store = of_table(uri, options)
    seen, log = listing.listed(store), listing.listed(store)
    beyond = set(_beyond(seen)) & set(_beyond(log))
    few = beyond if len(beyond) <= MOST and _beyond(seen)[:1] == _beyond(log)[:1] else set[int]()
    bodies = {n: store.find(name_of(n)) or b"" for n in few}
    if not bodies or not all(map(_is_ours, bodies.values())):
        return False
    aside.move(store, {name_of(n): body for n, body in bodies.items()})
    first, last = min(bodies), max(bodies)
    _log.warning("entries_set_aside", table=uri, first=first, last=last, folder=aside.FOLDER)
    return True


def _beyond(log: Listing) -> list[int]:
    """Return the entries beyond the first one that is missing since the newest checkpoint."""
    base = next(log.bases()).at
    since = [n for n in log.entries if n > base]
    return [n for at, n in enumerate(since, base + 1) if n != at]


def _is_ours(body: bytes) -> bool:
    """Return whether pinpip wrote it."""
    try:
        told = json.loads(body.partition(b"\n")[0])["commitInfo"]["engineInfo"]
    except (ValueError, LookupError, TypeError):
        return False
    return str(told).startswith(_OURS)
