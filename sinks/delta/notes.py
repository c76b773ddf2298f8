"""What a source that does not tell its first record knows of a shard, as `txn` actions.

`<own>/tip`: when the shard was last read to its end, in milliseconds, or `READ_TO_END`.
`<own>/gaps`: stretches of which records may have expired unread, as the operator accepted.
Tables without them are read as before.
"""

from collections.abc import Iterable, Iterator, Mapping

from deltalake import Transaction

from core.batch import Note, Partition, Position
from sinks.delta.transactions import Lookup, app_id


def tip(lookup: Lookup, app: str, partition: Partition) -> int | None:
    """When the partition was last read to its end; None: the table does not say."""
    return lookup(f"{app_id(app, partition)}/tip")


def accepted_gaps(lookup: Lookup, app: str, partition: Partition) -> int:
    """How many stretches of the partition may have expired unread."""
    return lookup(f"{app_id(app, partition)}/gaps") or 0


def gapped(app_ids: Iterable[str], app: str) -> set[Partition]:
    """The partitions of which one of `app_ids` counts gaps."""
    own = (name.removeprefix(f"{app}/") for name in app_ids if name.startswith(f"{app}/"))
    named = (name.removesuffix("/gaps").rsplit("/", 1) for name in own if name.endswith("/gaps"))
    return {Partition(source, id_) for source, id_ in named}


def written(
    lookup: Lookup, app: str, notes: Mapping[Partition, Note], now_ms: int
) -> Iterator[Transaction]:
    """The actions that keep `notes`: a tip only ever grows, and gaps add up."""
    for partition, note in notes.items():
        own = app_id(app, partition)
        if note.tip is not None:
            newest = max(note.tip, tip(lookup, app, partition) or 0)
            yield Transaction(f"{own}/tip", newest, now_ms)
        if note.accepted_gaps:
            total = accepted_gaps(lookup, app, partition) + note.accepted_gaps
            yield Transaction(f"{own}/gaps", total, now_ms)


def kept(
    notes: Mapping[Partition, Note], seen: Mapping[Partition, Position | None]
) -> Mapping[Partition, Note]:
    """The notes of a reader that is not behind a sink that has `seen` so much."""
    return {p: note for p, note in notes.items() if not _is_behind(note.position, seen.get(p))}


def _is_behind(position: Position | None, seen: Position | None) -> bool:
    return position is not None and seen is not None and position < seen
