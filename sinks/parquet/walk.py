"""Walk a chain: only what follows from its first object is proven."""

from collections.abc import Sequence
from dataclasses import replace

from core.batch import Position, reaches
from core.errors import PositionLost, SourceError
from sinks.parquet.chain import Link, links, start_of
from sinks.storage.protocol import Store

_RESTORE = "restore it from a backup, or replay only what lies before or after it"


def walk(store: Store, keys: Sequence[str]) -> list[Link]:
    """Return the objects of a chain, each beginning where the one before it ended.

    An object whose name lies within another one is no part of the chain: it is passed over. Raises
    SourceError for a hole, for an object that does not say what it holds, or of another topic.
    First objects that were removed since they were listed are passed over, others are an error.
    """
    path: list[Link] = []
    end: Position | None = None
    for key, link in zip(keys, links(store, keys), strict=True):
        if end is not None and start_of(key) < end:
            continue
        if link is None:
            if path:
                raise _removed(store, key)
            continue
        if isinstance(link, PositionLost):
            raise SourceError(link.message, link.hint)
        if end is not None and link.named > end:
            raise SourceError(
                f"{store.uri} has a hole: {path[-1].key} ends at {end.number}, the next object is "
                f"{key}",
                _RESTORE,
            )
        path.append(_checked(store, link, end))
        known = link.end.epoch if end is None or link.end.epoch is not None else end.epoch
        end = replace(link.end, epoch=known)
    if keys and not path:
        raise _removed(store, keys[-1])
    return path


def _removed(store: Store, key: str) -> SourceError:
    return SourceError(
        f"{store.uri}/{key} was removed since it was listed",
        "run the same command again: it says what the archive still has",
    )


def wanted(keys: Sequence[str], first: int | None, last: int | None) -> Sequence[str]:
    """Return the keys that offsets in [first, last) need, and one before: it proves the first."""
    starts = [start_of(key) for key in keys]
    low = sum(reaches(Position(first), start) for start in starts) if first is not None else 0
    high = len(keys) if last is None else sum(start < Position(last) for start in starts)
    return keys[max(0, low - 2) : max(high, low, 1)]


def _checked(store: Store, link: Link, end: Position | None) -> Link:
    if link.named != link.start or link.end <= link.start:
        raise SourceError(
            f"{store.uri}/{link.key} says that it holds {link.start.number} to {link.end.number}",
            _RESTORE,
        )
    if end is not None and not end.agrees(link.end.epoch):
        raise SourceError(
            f"{store.uri}/{link.key} is of another topic or stream of that name than the objects "
            "before it",
            "replay each of them by its range: --from-offset, --until-offset",
        )
    return link
