"""An append table and its quarantine, written by the real sinks, and the table of latest rows."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import polars as pl
from deltalake import DeltaTable

from core.batch import KAFKA, RESCUED, Batch, Partition, Position, Span
from core.clock import SystemClock
from core.config import Aws
from core.protocols import Options
from sinks.delta.sink import DeltaSink
from sinks.delta.target import DeltaTarget, Tables
from sinks.latest import candidates, feed, leaves, rebuild, view
from sinks.latest.follower import Follower
from sinks.latest.step import Step
from sinks.latest.view import View
from sinks.storage.protocol import Store
from sinks.storage.store import open_store
from tests.support.batches import APP, REJECTED_SCHEMA

TOPIC = "demo.pin"
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pl.Schema(
    {"ind": pl.Int64(), "title": pl.String(), "rank": pl.Int64()}
    | dict(KAFKA.metadata)
    | {RESCUED: pl.String()}
)
REJECTED = pl.Schema(dict(KAFKA.metadata) | REJECTED_SCHEMA)
SOME_ROWS = 3


@dataclass(frozen=True)
class Rec:
    """A record: of key `ind`, at second `at`; without a title it is a tombstone."""

    ind: int | None
    at: int
    title: str | None
    rank: int | None = None


@dataclass
class LatestLake:
    """The tables of one pipeline below `root`."""

    root: str
    order: str = "_timestamp"
    aws: Aws = field(default_factory=Aws)
    options: Options = dict
    ends: dict[int, int] = field(default_factory=dict)

    @property
    def view(self) -> View:
        """The view."""
        return View("ind", self.order, KAFKA)

    @property
    def tables(self) -> Tables:
        """The two tables that it is a view of."""
        places = (f"{self.root}/pin", f"{self.root}/pin_quarantine")
        return Tables(*places, self.options, KAFKA, APP)

    @property
    def uri(self) -> str:
        """Where the latest rows are."""
        return f"{self.root}/pin_latest"

    def follower(self, store: Store | None = None) -> Follower:
        """Make a new follower, as a new process does."""
        store = store or open_store(self.uri, self.aws)
        return Follower(self.view, self.tables, self.uri, store, SystemClock())

    def follow(self) -> list[Step]:
        """Follow until nothing is left."""
        steps = [self.follower().step()]
        while steps[-1].behind or steps[-1].lost:
            steps.append(self.follower().step())
        return steps

    def append(self, partition: int, records: Sequence[Rec]) -> None:
        """Write the next records of a partition to both tables, as a consumer does."""
        first = self.ends.get(partition, 0)
        self.ends[partition] = first + len(records)
        rows = [_row(partition, n, rec) for n, rec in enumerate(records, first)]
        span = Span(
            Position(first) if first else None, Position(first + len(records)), len(records)
        )
        own = Partition(TOPIC, str(partition))
        batch = Batch(
            raw=pl.DataFrame(rows, schema=KAFKA.metadata, orient="row"),
            clean=_frame([row for row in rows if row["title"] is not None], SCHEMA),
            rejected=_frame([row for row in rows if row["title"] is None], REJECTED),
            spans={own: span},
            coordinates=KAFKA,
        )
        for stage, uri, schema in (
            ("clean", self.tables.clean, SCHEMA),
            ("rejected", self.tables.quarantine, REJECTED),
        ):
            target = DeltaTarget(uri, self.options, schema, KAFKA, APP, stage=stage)  # type: ignore[arg-type]
            with closing(DeltaSink(stage, target, open_store(uri, self.aws), SystemClock())) as s:
                s.positions([own])
                s.write(batch)

    def table(self, uri: str) -> DeltaTable:
        """Open one of the tables."""
        return DeltaTable(uri, storage_options=self.options())

    def rows(self) -> list[dict[str, Any]]:
        """Read the latest table as any reader does."""
        found = pl.read_delta(self.uri, storage_options=self.options())
        return found.select(SCHEMA.names()).sort("ind").to_dicts()

    def wanted(self) -> list[dict[str, Any]]:
        """Return the latest rows, one at a time, by the rule in its words."""
        best: dict[int, dict[str, Any]] = {}
        for row in [*self._clean(), *self._dead()]:
            ind = row["ind"]
            if ind is not None and (ind not in best or self._rank(row) > self._rank(best[ind])):
                best[ind] = row
        return [best[ind] for ind in sorted(best) if not best[ind].get("gone")]

    def _clean(self) -> Iterable[dict[str, Any]]:
        found = pl.read_delta(self.tables.clean, storage_options=self.options())
        return found.select(SCHEMA.names()).to_dicts()

    def _dead(self) -> Iterable[dict[str, Any]]:
        found = pl.read_delta(self.tables.quarantine, storage_options=self.options())
        dead = found.filter(pl.col("reason") == "tombstone").to_dicts()
        return [{**row, "ind": _number(row["_key"]), "rank": None, "gone": True} for row in dead]

    def _rank(self, row: dict[str, Any]) -> tuple[Any, ...]:
        order = row[self.order]
        return (order is not None, order or 0, row["_topic"], row["_partition"], row["_offset"])


@contextmanager
def tiny() -> Iterator[None]:
    """Make files of few rows, and ranges and chunks of few."""
    with (
        patch.object(leaves, "ROWS", SOME_ROWS),
        patch.object(view, "CHUNK", SOME_ROWS),
        patch.object(rebuild, "BUDGET", 600),
        patch.object(feed, "BUDGET", 1),
        patch.object(candidates, "MOST_AGAIN", SOME_ROWS),
    ):
        yield


def _row(partition: int, offset: int, rec: Rec) -> dict[str, Any]:
    return {
        "_topic": TOPIC,
        "_partition": partition,
        "_offset": offset,
        "_key": None if rec.ind is None else str(rec.ind),
        "_timestamp": BEGAN + timedelta(seconds=rec.at),
        "ind": rec.ind,
        "title": rec.title,
        "rank": rec.rank,
        "reason": "tombstone",
        "detail": "the record has no value",
    }


def _frame(rows: list[dict[str, Any]], schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema, orient="row")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
