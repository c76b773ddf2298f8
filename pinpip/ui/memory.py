"""What `pinpip ui` remembers of one pipeline from look to look: freshness, and the last hour."""

from dataclasses import replace
from datetime import datetime, timedelta

from core.batch import Partition
from monitor.progress import Progress
from monitor.recent import Recent, Sample
from monitor.view import PartitionView, State
from pinpip.lake.view import LakeView
from pinpip.status import PartitionStatus, PipelineStatus
from pinpip.ui.looks import Source


class Memory:
    """Freshness by partition, samples for the charts, and since when nothing moves."""

    def __init__(self) -> None:
        self.recent = Recent()
        self.moved: datetime | None = None  # when positions were last seen to move
        self.still: datetime | None = None  # since when they are seen not to
        self._progress: dict[Partition, Progress] = {}
        self._positions: dict[Partition, int] | None = None
        self._state: tuple[str, datetime] | None = None

    def follow(
        self, status: PipelineStatus, source: Source | None, lake: LakeView, at: datetime
    ) -> None:
        """Take in what the tables and the source say at `at`."""
        known = {row.partition: row for row in status.partitions}
        self._progress = {p: own for p, own in self._progress.items() if p in known}
        for partition, row in known.items():
            own = self._progress.get(partition)
            if own is None or _is_another(own, row):
                own = self._progress[partition] = Progress(row.position)
            is_whole = not (
                row.recreated or row.gone
            )  # else neither end nor commit proves anything
            if row.position is not None:
                own.wrote(row.position, _first_event(partition, lake) if is_whole else None)
            if source is not None and partition in source.horizons and is_whole:
                own.reached(source.horizons[partition])
        self._note_moves(known, at)

    def _note_moves(self, known: dict[Partition, PartitionStatus], at: datetime) -> None:
        positions = {p: row.position.number for p, row in known.items() if row.position}
        if self._positions is not None and positions != self._positions:
            self.moved, self.still = at, None
        elif self.still is None:
            self.still = at
        self._positions = positions

    def until(self) -> datetime | None:
        """Return until when every record of every partition is in the table; None: not known."""
        found = [own.queryable_until for own in self._progress.values()]
        known = [until for until in found if until is not None]
        return min(known) if known and len(known) == len(found) else None

    def sample(self, status: PipelineStatus, records: int | None, at: datetime) -> Sample | None:
        """Return the sample of now and keep it when it is time; None without numbers."""
        if records is None:
            return None
        late, until = None, self.until()
        if until is not None:
            late = max(0.0, (at - min(until, at)).total_seconds())
        made = Sample(at.timestamp(), records, status.quarantined or 0, status.lag, late)
        if self.recent.is_due(made.at):
            self.recent.add(made)
        return made

    def partition(self, row: PartitionStatus, at: datetime) -> PartitionView:
        """Return one partition as the page shows it, as of `at`."""
        own = self._progress.get(row.partition)
        until = own.queryable_until if own else None
        until = None if until is None else min(until, at)
        return PartitionView(
            source=row.partition.source,
            id=row.partition.id,
            position=None if row.position is None else str(row.position.number),
            end=None if row.end is None else str(row.end.number),
            lag=row.lag,
            lag_seconds=None if until is None else (at - until).total_seconds(),
            queryable_until=until,
        )

    def dated(self, state: State, now: datetime) -> State:
        """Return the state with the time since when it is so."""
        if self._state is None or self._state[0] != state.word:
            self._state = state.word, state.since or now
        return replace(state, since=state.since or self._state[1])

    def idle(self, at: datetime) -> timedelta:
        """Return for how long the positions were seen not to move."""
        return timedelta() if self.still is None else at - self.still


def _is_another(own: Progress, row: PartitionStatus) -> bool:
    """Return whether what was proven does not hold for this table and source."""
    before, now = own.committed, row.position
    went_back = before is not None and (now is None or now < before)
    return went_back or bool(row.recreated or row.gone)


def _first_event(partition: Partition, lake: LakeView) -> datetime | None:
    """Return the first time in the newest commit, if that has records of the partition."""
    ranges = lake.commits[0].ranges if lake.commits else ()
    is_in = any(text.startswith(f"{partition} ") for text in ranges)
    return lake.first_event if is_in else None
