"""A lake of boards whose transform changes, and the replacement of its rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from audit.verify import Report, verify
from core.batch import KAFKA, Batch, Position
from core.clock import SystemClock
from pinpip.delta_targets import targets_of
from pinpip.pipelines import process_of, tables_of
from sinks.delta import replacing
from sinks.delta.replacing import Outcome, Place
from sinks.delta.selection import Records, Selection
from sinks.storage.store import open_store
from tests.support.board_lake import OLD, TOPIC, BoardLake, Member, write

OAK = {"id": 1, "title": "Oak"}
# The first version fails on titles that are no numbers, the second on some numbers, and drops some.
V1 = "rows.with_columns(title=pl.col('title').cast(pl.Int64).cast(pl.String))"
V2 = (
    "rows.filter(pl.col('title') != 'drop').with_columns("
    "title=pl.concat_str(pl.lit('v2 '), 'title'), "
    "id=pl.col('id') + pl.when(pl.col('title') == '13').then(pl.lit('x')).otherwise(pl.lit('0'))"
    ".cast(pl.Int64))"
)
TITLES = ["7", "13", "Oak", "drop", "8"]


def record(title: str) -> dict[str, Any]:
    return OAK | {"title": title}


@dataclass
class History:
    """What was sent to each partition, in a lake that today's rules or earlier ones filled."""

    folder: Path
    root: str = ""
    sections: dict[str, Any] = field(default_factory=dict)
    sent: dict[int, list[Any]] = field(default_factory=lambda: {0: [], 1: []})
    number: int = 0

    def __post_init__(self) -> None:
        self.lake = BoardLake(self.folder, self.root or str(self.folder / "lake"), self.sections)
        self._members: dict[tuple[int, str], Member] = {}

    def write(self, body: str, partition: int, *records: Any) -> None:
        """Write as the live member of a partition with these rules does."""
        member = self._members.get((partition, body))
        if member is None:
            member = Member(self.lake.config(OLD, body), partition)
            self._members[partition, body] = member
        if member.next != len(self.sent[partition]):
            member.seek()
        member.write(*records)
        self.sent[partition] += records

    def batch(self, body: str, partition: int) -> Batch:
        """Return what these rules make of all that was sent to the partition."""
        folder = self.folder / "none"
        folder.mkdir(exist_ok=True)
        member = Member(BoardLake(folder, str(folder / "lake")).config(OLD, body), partition)
        return member.batch(self.sent[partition])

    def selection(self, *ranges: tuple[int, int, int]) -> Selection:
        """Select (partition, start, end), without any all that was sent."""
        wanted = ranges or tuple((p, 0, len(own)) for p, own in self.sent.items() if own)
        return Selection(
            ranges=tuple(
                Records(source=TOPIC, partition=str(p), start=Position(a), end=Position(b))
                for p, a, b in wanted
            )
        )

    def places(self, body: str) -> tuple[Place, Place]:
        """Return the live tables."""
        config = self.lake.config(OLD, body)
        targets = targets_of(tables_of(config, "boards"), self.process(body))
        clean, quarantine = (Place(t, open_store(t.uri, config.aws)) for t in targets)
        return clean, quarantine

    def process(self, body: str) -> Callable[..., Batch]:

        return process_of(self.lake.config(OLD, body).pipeline("boards"), keep_values=False)

    def replace(
        self,
        body: str,
        selection: Selection | None = None,
        reached: Callable[[str], None] = lambda _: None,
        id_: str | None = None,
    ) -> Outcome:
        """Replace the selected rows by what these rules make of their records."""
        self.number += id_ is None
        batches = [self.batch(body, p) for p, own in self.sent.items() if own]

        def frames(stage: str) -> Iterator[pl.DataFrame]:
            yield from (getattr(batch, stage) for batch in batches)

        clean, quarantine = self.places(body)
        return replacing.replace(
            id_ or f"test {self.number}",
            selection or self.selection(),
            (clean, lambda: frames("clean")),
            (quarantine, lambda: frames("rejected")),
            SystemClock(),
            reached,
        )

    def verify(self) -> Report:
        return verify(tables_of(self.lake.config(), "boards"))

    def assert_as_rebuilt(self, body: str) -> None:
        """Assert that both tables are as these rules make them from zero, and verify agrees."""
        self.assert_equals({p: [body] * len(own) for p, own in self.sent.items()})

    def assert_equals(self, rules: Mapping[int, Sequence[str]]) -> None:
        """Assert that each row is as the rules of its record make it."""
        for stage, table in (("clean", "boards"), ("rejected", "boards_quarantine")):
            assert_frame_equal(self.rows(table), self._made(stage, rules), check_row_order=False)
        report = self.verify()
        assert (report.findings, report.unknown) == ((), ())

    def rows(self, table: str) -> pl.DataFrame:
        """Read a table as any reader does."""
        options = tables_of(self.lake.config(), "boards").options()
        found = pl.read_delta(f"{self.lake.root}/{table}", storage_options=options)
        return found.select(pl.exclude("pinpip_version")).sort("_partition", "_offset")

    def _made(self, stage: str, rules: Mapping[int, Sequence[str]]) -> pl.DataFrame:
        parts = list[pl.DataFrame]()
        for partition, bodies in rules.items():
            for body in dict.fromkeys(bodies):
                rows = getattr(self.batch(body, partition), stage)
                own = [n for n, each in enumerate(bodies) if each == body]
                parts.append(rows.filter(pl.col(KAFKA.number).is_in(own)))
        whole: pl.DataFrame = pl.concat(parts).select(pl.exclude("pinpip_version"))
        return whole.sort("_partition", "_offset")


def filled(folder: Path, body: str = V1, **options: Any) -> History:
    """Return a history of three commits, by the first rules unless told others."""
    made = History(folder, **options)
    made.write(body, 0, *map(record, TITLES))
    made.write(body, 0, b"not JSON", record("9"))
    made.write(body, 1, record("Elm"), record("13"))
    return made


__all__ = ["History", "filled", "record", "write"]
