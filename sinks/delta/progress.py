"""How far the partitions are in one Delta table, and with what is on its way there."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.batch import Batch, Coordinates, Partition, Position, Positions, Span
from core.errors import StalePosition
from core.topic_id import refuse_another
from sinks.delta.ledger import CommitRange


@dataclass
class _State:
    """One partition: `held` in the table, `deferred` after it, `seen` with what was prepared."""

    held: Position | None
    seen: Position | None
    deferred: list[CommitRange] = field(default_factory=list)

    @property
    def end(self) -> Position | None:
        """Where it is with what was deferred."""
        return self.deferred[-1].end if self.deferred else self.held


class Progress:
    """The partitions whose positions were read; `name` is the sink's, for errors.

    `unseen`, `see` and `seen` are for the thread that prepares, all else for the one that commits:
    they may run beside each other.
    """

    def __init__(self, name: str, coordinates: Coordinates) -> None:
        self._name = name
        self._coordinates = coordinates
        self._states: dict[Partition, _State] = {}

    def read(self, found: Positions) -> None:
        """Begin again with the positions that were found in the table."""
        self._states = self._states | {p: _State(held, held) for p, held in found.items()}

    def unseen(self, batch: Batch) -> Positions:
        """Return what was seen of the partitions of which `batch` brings more.

        Raises StalePosition for a span that does not follow, TopicRecreated for another epoch's.
        """
        states = self._states
        spans = batch.spans.items()
        return {p: states[p].seen for p, span in spans if self._is_news(states.get(p), p, span)}

    @property
    def seen(self) -> Positions:
        """How far each partition was prepared."""
        return {p: own.seen for p, own in self._states.items()}

    def see(self, ranges: Iterable[CommitRange]) -> None:
        """Note that these ranges were prepared."""
        states = self._states  # another thread may have fenced some meanwhile
        for r in ranges:
            if r.of in states:
                states[r.of].seen = r.end

    def unsee(self) -> None:
        """Forget what was prepared and is neither held nor deferred."""
        for own in self._states.values():
            own.seen = own.end

    def held(self, partitions: Collection[Partition]) -> Positions:
        """Return where these partitions are in the table; those that were not read are left out."""
        return {p: self._states[p].held for p in partitions if p in self._states}

    def defer(self, ranges: Sequence[CommitRange]) -> None:
        """Keep ranges without rows for a later commit. Raises as `follow`."""
        self.follow(ranges, {p: own.end for p, own in self._states.items()})
        for r in ranges:
            self._states[r.of].deferred.append(r)

    @property
    def deferred(self) -> list[CommitRange]:
        """What was deferred, in the order of each partition."""
        return [r for own in self._states.values() for r in own.deferred]

    def release(self, partitions: Collection[Partition]) -> None:
        """Forget what was deferred of them."""
        for own in (self._states[p] for p in partitions if p in self._states):
            own.deferred = []

    def fence(self, moved: Collection[Partition]) -> None:
        """Forget partitions that another writer moved: their positions must be read again."""
        self._states = {p: own for p, own in self._states.items() if p not in moved}

    def follow(self, ranges: Iterable[CommitRange], at: Positions) -> None:
        """Raise StalePosition unless each range begins where its partition is by then.

        It does not where a batch before it was not committed.
        """
        ends = dict(at)
        for r in ranges:
            if r.of not in ends or ends[r.of] != r.start:
                raise StalePosition(f"{self._name}: {r.of} is at {ends.get(r.of)}, not {r.start}")
            ends[r.of] = r.end

    def move(self, ends: Mapping[Partition, Position]) -> None:
        """Note that the table holds these positions, and with them what was deferred."""
        for partition, end in ends.items():
            own = self._states[partition]
            own.held, own.deferred = end, []

    def _is_news(self, own: _State | None, partition: Partition, span: Span) -> bool:
        if own is None:
            raise StalePosition(f"{self._name}: the position of {partition} was not read yet")
        if own.held is not None and not own.held.agrees(span.end.epoch):
            refuse_another(partition, own.held, span.end.epoch, self._coordinates)
        if span.start is not None and (own.seen is None or span.start > own.seen):
            raise StalePosition(
                f"{self._name}: {partition} was read from {span.start}, held: {own.seen}"
            )
        return own.seen is None or span.end > own.seen


def beyond(batch: Batch, seen: Positions) -> Batch:
    """Return the rows and spans of `batch` that are beyond `seen`, of the partitions in it."""
    if {p: span.start for p, span in batch.spans.items()} == seen:
        return batch
    rows = batch.coordinates.beyond(seen)
    raw, clean, rejected = (f.filter(rows) for f in (batch.raw, batch.clean, batch.rejected))
    out = None if batch.left_out is None else batch.left_out.filter(rows)
    spans = {p: span for p, span in batch.spans.items() if p in seen}
    return replace(batch, raw=raw, clean=clean, rejected=rejected, spans=spans, left_out=out)
