"""Old objects of an archive removed, from the oldest of each chain on: it then begins later.

The newest object of a chain always stays: the position is in it. A writer that was paused must not
take the name of an object that is gone: it lists again what it knows for longer than a day
(`sink.FRESH`), and objects are kept for a week at least (`core.pipeline.SHORTEST`). Ages are
differences between times of the store, so that a wrong local clock removes nothing.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise, takewhile
from threading import Event

from core.batch import Partition, Position
from core.errors import PositionLost
from sinks.parquet import chain
from sinks.storage.protocol import Store

_THREADS = 16  # as many as the client of S3 has connections


@dataclass(frozen=True)
class Old:
    """What of a chain of so many `objects` can go: its first `keys`, oldest first.

    `begins`: where the chain begins without them. `unknown`: why none goes; empty: nothing is
    wrong.
    """

    objects: int
    keys: tuple[str, ...] = ()
    begins: Position | None = None
    unknown: str = ""


def plan(
    store: Store, partitions: Collection[Partition], keep: timedelta, now: datetime
) -> dict[Partition, Old]:
    """Find the objects that were written `keep` before the newest one of these partitions.

    `now` is only asked whether that one is from the future. Reads the metadata of what can go.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda p: dict(store.scan(chain.folder(p))), partitions)
        written = dict(zip(partitions, found, strict=True))
    times = [at for own in written.values() for at in own.values()]
    bound = min(max(times, default=now), now) - keep
    return {p: _old(store, own, bound) for p, own in written.items()}


def remove(
    store: Store, found: Collection[Old], tell: Callable[[int], None] = lambda _: None
) -> int:
    """Remove the objects, several chains at a time; return how many. Run again it goes on.

    Of one chain each goes before the next: whatever ends this leaves no hole.
    """
    stop = Event()

    def shorten(old: Old) -> int:
        gone = 0
        for key in takewhile(lambda _: not stop.is_set(), old.keys):
            store.remove([key])
            gone += 1
            tell(1)
        return gone

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            return sum(pool.map(shorten, found))
        finally:
            stop.set()


def _old(store: Store, written: Mapping[str, datetime], bound: datetime) -> Old:
    keys = sorted(written)
    old = [*takewhile(lambda key: written[key] < bound, keys[:-1])]
    if not old:
        return Old(len(keys))
    proof = keys[: len(old) + 1]
    found = [*chain.links(store, proof)]
    unknown = next(_broken(found), "")
    if unknown:
        return Old(len(keys), unknown=unknown)
    return Old(len(keys), tuple(old), chain.start_of(proof[-1]))


def _broken(found: Sequence[chain.Link | PositionLost | None]) -> Iterator[str]:
    """Yield why the last of these objects is not proven to follow from the others."""
    for link in found:
        if link is None:
            yield "another process removed objects meanwhile"
        elif isinstance(link, PositionLost):
            yield link.message
        elif link.named != link.start:
            yield f"{link.key} is not named by where it starts"
    for before, after in pairwise(found):
        if not (isinstance(before, chain.Link) and isinstance(after, chain.Link)):
            continue
        if before.end != after.named:
            yield f"{after.key} does not begin where {before.key} ends"
