"""The ledger: what each Delta commit covered, kept in the commit's own metadata.

An entry is evidence for `verify`; the positions are the `txn` actions. It exists as long as the
log has its entry (`delta.logRetentionDuration`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from core.batch import Batch, Partition, Position, Rejects

KEY = "pinpip"
_TIME = "_timestamp"
_COUNTS = ("read", "clean", "quarantined", "expired", "left_out", "unclaimed")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRange:
    """One partition's part of a commit: `read` records became clean and quarantined rows.

    The others were filtered out: `left_out` by the pipeline's `where` (`unclaimed` of these are of
    no other pipeline), the rest by the transform. `expired`: offsets at the range's start whose
    records retention removed before they were read, as the operator accepted. `verify` has all of
    a table in memory: a model of pydantic takes four times as much.
    """

    source: str
    partition: str
    start: Position | None
    end: Position
    read: Annotated[int, Field(alias="in")]
    clean: int
    quarantined: int
    expired: int = 0
    left_out: int = 0
    unclaimed: int = 0

    @property
    def of(self) -> Partition:
        """The partition of the range."""
        return Partition(self.source, self.partition)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """What a replacement of rows changed: so many clean and quarantined rows more than before.

    Its range lies within that of one commit, or before the ledger begins.
    """

    source: str
    partition: str
    start: Position | None
    end: Position
    clean: int = 0
    quarantined: int = 0

    @property
    def of(self) -> Partition:
        """The partition of the range."""
        return Partition(self.source, self.partition)


class Entry(BaseModel):
    """One commit: its ranges, the broker's first and last timestamp, the code that wrote it.

    `rules`: a digest of the schema and transform that decided; `window`: the rejects among the last
    records, this commit's included. `version`: pinpip's; `transform_version`: the transform's, as
    its author names it. Entries of version 0.1 may lack all but pinpip's version. `where`: which
    records the pipeline took, as JSON; None: all. `replacement`: the commit replaced rows, has no
    ranges, and `amendments` say what that changed of those of earlier commits.
    """

    model_config = ConfigDict(frozen=True)
    app: str
    version: str
    event_time: tuple[datetime, datetime] | None
    ranges: tuple[CommitRange, ...]
    rules: str | None = None
    window: Rejects | None = None
    where: str | None = None
    transform_version: str | None = None
    replacement: str | None = None
    amendments: tuple[Amendment, ...] = ()


def ranges(batch: Batch, seen: Mapping[Partition, Position | None]) -> list[CommitRange]:
    """Return the range of each span of `batch`, which begins where it was `seen`."""
    taken, clean, quarantined, *others = batch.counts
    left_out, unclaimed = others or ({}, {})
    return [
        CommitRange(
            source=p.source,
            partition=p.id,
            start=seen[p],
            end=span.end,
            read=taken.get(p, 0) + left_out.get(p, 0),
            clean=clean.get(p, 0),
            quarantined=quarantined.get(p, 0),
            expired=span.expired(seen[p]),
            left_out=left_out.get(p, 0),
            unclaimed=unclaimed.get(p, 0),
        )
        for p, span in batch.spans.items()
    ]


def joined(ranges: Iterable[CommitRange]) -> tuple[CommitRange, ...]:
    """Join consecutive ranges of a partition into one."""
    whole: dict[Partition, CommitRange] = {}
    for r in ranges:
        before = whole.get(r.of)
        whole[r.of] = r if before is None else _extended(before, r)
    return tuple(whole.values())


def _extended(before: CommitRange, after: CommitRange) -> CommitRange:
    counts = {n: getattr(before, n) + getattr(after, n) for n in _COUNTS}
    return replace(before, end=after.end, **counts)


def event_time(rows: pl.DataFrame) -> tuple[datetime, datetime] | None:
    """Return the first and last broker timestamp of the rows; None without rows."""
    low, high = rows.select(low=pl.col(_TIME).min(), high=pl.col(_TIME).max()).row(0)
    return None if low is None else (low, high)


def encode(entry: Entry) -> str:
    """Encode the entry as the text that a commit carries under `KEY`."""
    return entry.model_dump_json(by_alias=True)


def decode(text: str) -> Entry:
    """Decode the entry in `text`; raises pydantic's ValidationError (a ValueError) if damaged."""
    return Entry.model_validate_json(text)
