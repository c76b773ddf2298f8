"""Fixing where a pipeline begins to read, before it reads anything."""

from collections.abc import Mapping

from consumers.engine.sink_group import SinkGroup
from core.batch import Partition
from core.origins import Start, belongs
from core.protocols import Source
from core.topic_id import Known


def pin(source: Source, sinks: SinkGroup, found: Mapping[Partition, Known]) -> bool:
    """Have the sinks keep where these partitions' sources begin; whether that was still open.

    A source that is not the one of which the sinks hold records is left alone: it is refused when
    it is sought. Raises StalePosition when another member was faster, TransientError when the
    source does not tell now.
    """
    unpinned = {p.source for p, own in found.items() if own.origin is None}
    starts = source.starts(unpinned) if unpinned else {}
    ours = {name: start for name, start in starts.items() if _is_theirs(name, start, found)}
    if ours:
        sinks.pin(ours)
    return bool(ours)


def _is_theirs(name: str, start: Start, found: Mapping[Partition, Known]) -> bool:
    return all(
        belongs(own.furthest, start.epoch, start.begins.get(p))
        for p, own in found.items()
        if p.source == name
    )
