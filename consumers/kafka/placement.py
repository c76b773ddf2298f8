"""Where reading begins in each partition: decided by what sinks and brokers know."""

from collections.abc import Collection, Iterable, Mapping

import structlog

from consumers.kafka.offsets import Ends, PlacementRequest, outside
from consumers.kafka.topic_identity import BUSY_TIMEOUT_S, TopicIdentity
from core.batch import Partition, Position, Positions
from core.topic_id import Known

_log = structlog.get_logger()


class Gaps:
    """Records that retention took before they were read, and that the operator accepted to lose.

    `accepted`: the first offset of each partition when the operator accepted what had expired
    before it; what expires later was not accepted. `passed`: where a gap ends that reading passed
    over and that is not handed over with records yet.
    """

    def __init__(self) -> None:
        self.accepted: Mapping[Partition, int] = {}
        self.passed: dict[Partition, Position] = {}

    def after(
        self, partition: Partition, offset: int, low: int, recorded: Iterable[range] = ()
    ) -> int:
        """Return where reading begins instead of `offset`: at the first offset `low`, if accepted.

        `recorded`: what the operator accepted before, as a sink says; it holds for all sinks.
        """
        self.passed.pop(partition, None)
        stops = [self.accepted.get(partition, 0), *(gap.stop for gap in recorded if offset in gap)]
        if not offset < low <= max(stops):
            return offset
        self.passed[partition] = Position(low)
        _log.warning(
            "accepted_expired_records", partition=str(partition), first=offset, last=low - 1
        )
        return low


class Placement:
    """The offset at which a reader begins in each partition that is sought.

    A partition without a position begins at its entry in `firsts`; without one at its end if
    `from_end`, else at its first offset. `known`: what the sinks know of the partitions.
    """

    def __init__(self, identity: TopicIdentity, *, from_end: bool) -> None:
        self._identity, self._from_end = identity, from_end
        self.firsts: dict[Partition, int] = {}
        self.known: dict[Partition, Known] = {}
        self.gaps = Gaps()
        self._waiting: frozenset[Partition] = frozenset()

    def offsets(
        self, positions: Positions, request: PlacementRequest, reading: Mapping[Partition, int]
    ) -> dict[Partition, int]:
        """Return where each partition begins; one of which no broker tells enough is left out.

        Raises TopicRecreated when a position, or the furthest one that is `known`, counts in an
        earlier life of the topic, RecordsExpired or SourceError when the partition does not reach
        there. `reading`: the next offsets of the partitions that are read already.
        """
        self._identity.restart()
        ids = self._identity.ids.answers(request.ids, BUSY_TIMEOUT_S)
        ends, late = request.offsets.answers(), self._identity.ids.late(request.ids)
        placed = {
            p: self._offset(p, at, ends[p], ids.get(p.source), reading.get(p, 0))
            for p, at in positions.items()
            if p in ends and p.source not in late
        }
        return {p: offset for p, offset in placed.items() if offset is not None}

    def _offset(
        self,
        partition: Partition,
        position: Position | None,
        ends: Ends,
        epoch: int | None,
        reading: int,
    ) -> int | None:
        """Return None while nobody can tell whether a sink may be filled beside another one."""
        known = self.known.get(partition, Known(position, position))
        furthest = known.furthest or position or Position(reading)
        for own in filter(None, (furthest, known.origin)):
            self._identity.check(partition, own, epoch)
        untold = epoch is None and furthest.epoch is not None and self._identity.ids.tell
        if untold and known.differs:
            return None
        low, high = ends
        first = self.firsts.get(partition, high if self._from_end else low)
        offset = position.number if position else first
        reached = max(offset, known.furthest.number if known.furthest else 0)
        offset = self.gaps.after(partition, offset, low, known.gaps)
        wrong = outside(partition, reached, 0, high)
        wrong = wrong or outside(partition, offset, low, high, known.empty)
        if wrong is not None:
            raise wrong
        return offset

    def note_waiting(self, waiting: Collection[Partition], complaint: str) -> None:
        """Log once of which partitions no broker tells the ends."""
        if waiting and self._waiting != waiting:
            _log.warning(
                "partition_ends_unknown",
                partitions=len(waiting),
                partition=str(min(waiting)),
                error=complaint,
            )
        self._waiting = frozenset(waiting)

    def forget(self, partition: Partition) -> None:
        """Forget what holds for this reading of the partition only."""
        self.known.pop(partition, None)
        self.gaps.passed.pop(partition, None)
