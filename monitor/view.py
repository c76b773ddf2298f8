"""What the status page shows, as data: a consumer fills it from memory, `pinpip ui` from tables.

None means not known; the page shows a dash and never 0. Times are UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Level = Literal["ok", "warn", "bad", "unknown"]


@dataclass(frozen=True)
class State:
    """How a pipeline is, in words that answer: is it well, since when, why, what to do.

    `word`: "up to date", "catching up", "waiting", "stopped", …; `why` and `next` are sentences,
    empty when all is well.
    """

    level: Level
    word: str
    since: datetime | None = None
    why: str = ""
    next: str = ""


@dataclass(frozen=True)
class PartitionView:
    """One partition or shard. `position` and `end`: offsets or sequence numbers, as text.

    `lag`: records; `lag_seconds`: age of `queryable_until`, up to which all is in the table.
    """

    source: str
    id: str
    position: str | None = None
    end: str | None = None
    lag: int | None = None
    lag_seconds: float | None = None
    queryable_until: datetime | None = None


@dataclass(frozen=True)
class CommitView:
    """One commit of the clean table, as its ledger has it. `ranges`: "demo.pin/0 120..180"."""

    version: int
    at: datetime
    read: int
    clean: int
    quarantined: int
    ranges: tuple[str, ...]
    file: str | None = None


@dataclass(frozen=True)
class Sample:
    """A quarantined record: where it is in the source, what is wrong, the start of its value."""

    where: str
    detail: str
    value: str


@dataclass(frozen=True)
class ReasonView:
    """The quarantined records with one reason, and the newest few of them."""

    reason: str
    rows: int
    last: datetime | None = None
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class OutageView:
    """A source or sink without a success since then; `fault`: its last words, `next`: a hint."""

    part: str
    since: datetime
    fault: str = ""
    next: str = ""


@dataclass(frozen=True)
class SeriesView:
    """The last hour: `at` in seconds since 1970, the others beside it; None: not known then.

    `rate`: records/s, `lag`: records, `lag_seconds`: seconds.
    """

    at: tuple[float, ...] = ()
    rate: tuple[float | None, ...] = ()
    lag: tuple[float | None, ...] = ()
    lag_seconds: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class FilesView:
    """The data files of a table; `small`: those below 32 MiB."""

    table: Literal["clean", "quarantine"]
    files: int
    small: int
    bytes: int


@dataclass(frozen=True)
class VerdictView:
    """What `pinpip verify` last found. `level`: bad with findings, unknown where it cannot know."""

    at: datetime
    level: Level
    text: str
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class PipelineView:
    """One pipeline.

    `clean`, `quarantined`, `filtered`, `expired`: records since `counted_since`, or rows of the
    tables when that is None. `rate`: records/s over the last ten seconds. `unknown`: why something
    is not known, by what it concerns. `as_of`: when the numbers were read; None: at `PageView.at`.
    """

    name: str
    reads: str
    table: str
    state: State
    clean: int | None = None
    quarantined: int | None = None
    filtered: int | None = None
    expired: int | None = None
    counted_since: datetime | None = None
    rate: float | None = None
    lag: int | None = None
    lag_seconds: float | None = None
    queryable_until: datetime | None = None
    last_commit: datetime | None = None
    partitions: tuple[PartitionView, ...] = ()
    commits: tuple[CommitView, ...] = ()
    reasons: tuple[ReasonView, ...] = ()
    outages: tuple[OutageView, ...] = ()
    series: SeriesView = SeriesView()
    files: tuple[FilesView, ...] = ()
    verdict: VerdictView | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)
    as_of: datetime | None = None


@dataclass(frozen=True)
class GatewayView:
    """The gateway's counters since its start; `statuses`: requests by HTTP status."""

    url: str
    requests: int
    received_bytes: int
    in_flight_bytes: int
    statuses: Mapping[str, int]


@dataclass(frozen=True)
class PageView:
    """The whole page. `kind`: what serves it: one consumer process, or `pinpip ui`."""

    id: str
    kind: Literal["consumer", "ui"]
    version: str
    at: datetime
    started: datetime
    pipelines: tuple[PipelineView, ...]
    gateway: GatewayView | None = None
