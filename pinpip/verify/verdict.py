"""What verify is asked to read again, and what it answers for one pipeline."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True)
class RereadPlan:
    """What is read again: everything, or `sample` stretches of 1,000 records that `seed` draws."""

    sample: int | None = None
    seed: int = 0


class _Model(BaseModel):
    """A part of the answer; `model_dump` is what `--json` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Discrepancy(_Model):
    """A difference between what should be in the tables and what is."""

    kind: str
    where: str
    detail: str


class OpenQuestion(_Model):
    """Something that is not known, and why."""

    where: str
    detail: str


class PartitionCounts(_Model):
    """One partition beside its source; a position of Kinesis is text. None: the source has none.

    `gaps`: offsets that gave no record; see `audit.verify.PartitionSummary`.
    """

    partition: str
    first_offset: int | None
    end: int | None
    position: int | str | None
    lag: int | None
    held_back: int | None
    read: int
    clean: int
    quarantined: int
    filtered: int
    left_out: int
    expired: int
    accepted_gaps: int
    gaps: int | None


class ChainCounts(_Model):
    """The objects of one partition in one archive; a position of Kinesis is text.

    `waiting`: records beyond `end` that the consumer may still hold. `begins_late`: objects before
    `start` were removed, so that what they held is not known.
    """

    archive: str
    partition: str
    objects: int
    records: int
    expired: int
    waiting: int = 0
    start: int | str | None
    end: int | str | None
    begins_late: bool = False


class RereadCounts(_Model):
    """What was read again; see `pinpip.verify.reread.Reread`. `sample` and `seed`: of the plan."""

    records: int
    rows: int
    out_of_reach: int
    expired: int
    sample: int | None
    seed: int | None


class LatestCounts(_Model):
    """The table of latest rows: the append table's `version` that it shows, None if not known.

    `behind`: commits of the append table and its quarantine that it does not show yet.
    """

    rows: int
    version: int | None
    behind: int


class TableSeen(_Model):
    """The version of a table that was read; `id`: the Delta table's own, new when re-created."""

    table: Literal["table", "quarantine"]
    id: str
    version: int


class Verdict(_Model):
    """One pipeline's counts, differences and open questions.

    `accepted_gaps`: stretches of shards that may have expired unread. `held_back`: records behind
    open transactions. `waiting`: records that are unread, but not for too long. `unarchived`: those
    that the archives still lack, but not for too long; `flushed`: each archive's `flush.seconds`.
    `offline`: the source was not read. `left_out`: of the filtered, those that `where` did not
    take; `transform` filtered the others. `former_where`: other tests of `where` that commits in
    the log have.
    `tables`: the clean table and its quarantine, where they exist. `latest`: of `mode: upsert`.
    """

    pipeline: str
    read: int
    clean: int
    quarantined: int
    filtered: int
    left_out: int
    expired: int
    accepted_gaps: int
    held_back: int
    waiting: int
    unarchived: int = 0
    flushed: list[float] = []
    partitions: int
    findings: list[Discrepancy]
    unknown: list[OpenQuestion]
    offline: bool
    transform: str
    former_where: list[str] = []
    by_partition: list[PartitionCounts]
    archives: list[ChainCounts]
    reread: RereadCounts | None
    tables: list[TableSeen] = []
    latest: LatestCounts | None = None

    @property
    def kept(self) -> int:
        """Rows in the table and its quarantine."""
        return self.clean + self.quarantined

    def tree(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return self.model_dump()
