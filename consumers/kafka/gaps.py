"""Records that retention took before they were read, and that the operator accepted to lose."""

from collections.abc import Iterable, Mapping

import structlog

from core.batch import Partition, Position

_log = structlog.get_logger()


class Gaps:
    """Gaps that reading passed over and whose spans are not handed over yet.

    `accepted`: the first offset of each partition when the operator accepted what had expired
    before it; what expires later was not accepted.
    """

    def __init__(self) -> None:
        self.accepted: Mapping[Partition, int] = {}
        self._passed: dict[Partition, Position] = {}

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._passed

    def after(
        self, partition: Partition, offset: int, low: int, recorded: Iterable[range] = ()
    ) -> int:
        """Where reading begins instead of `offset`: at the first offset `low`, if accepted.

        `recorded`: what the operator accepted before, as a sink says; it holds for all sinks.
        """
        self._passed.pop(partition, None)
        stops = [self.accepted.get(partition, 0), *(gap.stop for gap in recorded if offset in gap)]
        if not offset < low <= max(stops):
            return offset
        self._passed[partition] = Position(low)
        _log.warning(
            "accepted_expired_records", partition=str(partition), first=offset, last=low - 1
        )
        return low

    def take(self, partition: Partition) -> Position | None:
        """Where the partition's gap ends, once; None without one."""
        return self._passed.pop(partition, None)
