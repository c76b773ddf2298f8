"""What a pipeline's source holds beyond its tables; a source that cannot tell is an unknown."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from consumers.kinesis.ends import End
from consumers.kinesis.life import milliseconds
from core.batch import Partition, Position, Positions
from core.clock import SystemClock
from core.config import Config, KafkaSource, KinesisSource
from core.errors import RecordsExpired, SourceError, TopicRecreated, TransientError
from pinpip.watermarks import (
    Marks,
    absent_topics,
    high_watermarks_of,
    marks_of,
    misplaced,
    shard_ends,
    stream_epoch,
    unread,
)

if TYPE_CHECKING:
    from audit.snapshot import Snapshot

_UNREAD = "whether it holds unread records"
_ABSENT = f"the cluster has no such topic: {_UNREAD}"


@dataclass(frozen=True)
class Marked:
    """Where the source's partitions begin and end (Kafka), and what is held back beyond that.

    `held_back`: offsets behind a transaction that is still open. `unknown`: why it is not known.
    """

    marks: Marks = field(default_factory=dict)
    held_back: Mapping[Partition, int] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def epochs(self) -> dict[str, int | None]:
        """The identity of each topic that answered, None where it has none."""
        return {p.source: high.epoch for p, (_, high) in self.marks.items()}


@dataclass
class Beyond:
    """Records that the tables do not hold: `findings` are (kind, where, detail).

    `waiting`: unread offsets or records, none of them for too long. `unknown`: by what it concerns.
    `epochs`: the identity of a stream that answered, None where it is not told.
    """

    findings: list[tuple[str, str, str]] = field(default_factory=list)
    waiting: dict[Partition, int] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    epochs: dict[str, int | None] = field(default_factory=dict)


def marked(config: Config, name: str, *, must: bool) -> Marked:
    """The ends of a Kafka source now; Kinesis tells none.

    A source that does not answer is an unknown, or with `must` its error.
    """
    source = config.pipeline(name).source
    if not isinstance(source, KafkaSource):
        return Marked()
    try:
        highs = high_watermarks_of(config, name)  # asked first: what comes later is not held back
        marks = marks_of(config, name)
    except (SourceError, TransientError) as error:
        if must:
            raise
        return Marked(unknown={", ".join(source.topics): f"{error.message}: {_UNREAD}"})
    held = {p: highs[p].number - high.number for p, (_, high) in marks.items() if p in highs}
    absent = dict.fromkeys(
        absent_topics(source, marks), f"the cluster has no such topic: {_UNREAD}"
    )
    return Marked(marks, {p: n for p, n in held.items() if n > 0}, absent)


def beyond(
    config: Config,
    name: str,
    positions: Positions,
    ends: Marked,
    grace: float,
    table: "Snapshot",
) -> Beyond:
    """What lies beyond the `positions` of `table`; older than `grace` seconds it is a finding."""
    clock = SystemClock()
    source = config.pipeline(name).source
    since = clock.now() - timedelta(seconds=grace)
    if isinstance(source, KinesisSource):
        try:
            found = shard_ends(config, source, positions, since, clock, _tips(table))
        except TopicRecreated as error:
            return Beyond([("recreated", name, error.message)])
        except SourceError as error:
            return Beyond(unknown={source.stream: f"{error.message}: {_UNREAD}"})
        late = _of_shards(found, grace)
        late.epochs[source.stream] = stream_epoch(config, source, clock)
        return late
    try:
        return _of_topics(config, name, positions, ends.marks, since, grace)
    except (SourceError, TransientError) as error:
        topics = ", ".join(source.topics)
        return Beyond(unknown={topics: f"{error.message}: {_UNREAD}"})


def _tips(table: "Snapshot") -> Callable[[Partition], int | None]:
    """When each shard was last read to its end; in tables of before the last commit stands for it.

    In milliseconds; None: the table does not say.
    """
    at = table.committed_at
    committed = None if at is None else milliseconds(at)

    def tip(partition: Partition) -> int | None:
        told = table.tip(partition)
        return committed if told is None else told

    return tip


def _of_shards(shards: Mapping[Partition, End], grace: float) -> Beyond:
    wrong = [("position", str(p), end.wrong) for p, end in shards.items() if end.wrong]
    behind = [
        ("behind", str(p), _late(f"at least {end.unread}", grace))
        for p, end in shards.items()
        if end.unread
    ]
    waiting = {p: end.young for p, end in shards.items() if end.young and not end.unread}
    return Beyond(
        [*wrong, *behind], waiting, {str(p): end.doubt for p, end in shards.items() if end.doubt}
    )


def _of_topics(
    config: Config,
    name: str,
    positions: Positions,
    marks: Marks,
    since: datetime,
    grace: float,
) -> Beyond:
    wrong = misplaced(positions, marks)
    findings = [(kind, str(partition), detail) for partition, kind, detail in wrong]
    at = {**positions, **{p: marks[p][1] for p, *_ in wrong if p in marks}}
    try:
        behind = unread(config, name, at, since) if marks else {}
    except RecordsExpired as error:
        return Beyond([*findings, ("expired", name, error.message)])
    except TopicRecreated as error:
        return Beyond([*findings, ("recreated", name, error.message)])
    findings += [("behind", str(p), _late(str(n), grace)) for p, n in behind.items()]
    lags = {p: lag(at.get(p), low, high) for p, (low, high) in marks.items()}
    return Beyond(findings, {p: n for p, n in lags.items() if n and p not in behind})


def _late(records: str, grace: float) -> str:
    return f"{records} records older than {grace:g} s are not in the table: is its consumer up?"


def lag(position: Position | None, low: Position, high: Position) -> int:
    """Offsets that can still be read from `position` on; None: from the first one there is."""
    return max(0, high.number - max(low, position or low).number)
