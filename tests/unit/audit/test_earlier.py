"""A lake of an earlier release is proven by its rules, and a lost or doubled record still found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.invariants import FindingKind
from audit.reread import Comparison
from core.batch import KAFKA, VALUE, Batch, Partition, Position, Records, Span, Stretch
from tests.support.examples import examples
from transforms.process import processor
from transforms.schema import Schema

ROOM = Schema("room", "ind", {"ind": pl.Int64(), "floor": pl.Int64(), "name": pl.String()})
P0 = Partition("rooms", "0")
WIRES = [
    b'{"ind": 4.0, "floor": 1}',
    b'{"ind": 4, "floor": 1.0}',
    b'{"ind": 4.0, "floor": 2.0, "x": 1}',
    b'{"ind": 4, "floor": 1, "name": "a"}',
    b'{"ind": 4.5, "floor": 1}',
    b"{",
    b'{"ind": -1.0, "name": "dropped"}',
]


def clean(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Drop negative keys."""
    return rows.filter(pl.col("ind") >= 0)


NOW = processor(ROOM, clean, KAFKA, keep_values=True)
BEFORE = processor(replace(ROOM, whole_floats=False), clean, KAFKA, keep_values=True)


def read(wires: Sequence[bytes]) -> Records:
    columns: dict[str, Any] = {
        "_topic": "rooms",
        "_partition": 0,
        "_offset": range(len(wires)),
        "_key": None,
        "_timestamp": datetime(2024, 1, 1, tzinfo=UTC),
        VALUE: wires,
    }
    frame = pl.DataFrame(columns, schema={**KAFKA.metadata, VALUE: pl.Binary()})
    span = Span(Position(0), Position(len(wires)), len(wires))
    return Records(frame, {P0: span}, KAFKA)


def earlier(batch: Batch) -> Batch:
    return BEFORE(Records(batch.raw, batch.spans, KAFKA))


@dataclass
class Stored:
    """Rows in memory."""

    stage: Literal["raw", "clean", "rejected"]
    frame: pl.DataFrame
    count: int

    @property
    def name(self) -> str:
        return self.stage

    def begin(self, partition: Partition) -> None:
        assert partition == P0

    def end(self, partition: Partition) -> Position:
        assert partition == P0
        return Position(self.count)

    def rows(self, stretches: Mapping[Partition, Stretch]) -> pl.DataFrame:
        return self.frame.filter(KAFKA.within(stretches))


def lake(wires: Sequence[bytes], old: set[int]) -> list[Stored]:
    """Store the records as this release does, but those numbered in `old` as the earlier one."""
    records = read(wires)
    by_old = pl.col("_offset").is_in(sorted(old))
    now, before = NOW(records), BEFORE(records)
    stages: tuple[Literal["clean", "rejected"], ...] = ("clean", "rejected")
    return [
        Stored(stage, pl.concat([a.remove(by_old), b.filter(by_old)]), len(wires))
        for stage in stages
        for a, b in [(getattr(now, stage), getattr(before, stage))]
    ]


def findings(stored: Sequence[Stored], wires: Sequence[bytes]) -> set[FindingKind]:
    comparison = Comparison(stored, {P0: Position(0)}, KAFKA, earlier=earlier)
    comparison.write(NOW(read(wires)))
    return {finding.kind for finding in comparison.findings()}


@given(st.lists(st.sampled_from(WIRES), max_size=12), st.sets(st.integers(0, 11)))
@settings(max_examples=examples(60), deadline=None)
def test_a_record_may_be_stored_as_either_release_decoded_it(
    wires: list[bytes], old: set[int]
) -> None:
    assert findings(lake(wires, old), wires) == set()


@pytest.mark.parametrize("old", [set(), set(range(6))], ids=["now", "earlier"])
@pytest.mark.parametrize("at", range(6))
def test_a_record_that_is_lost_is_found(at: int, old: set[int]) -> None:
    stored = lake(WIRES, old)
    for side in stored:
        side.frame = side.frame.remove(pl.col("_offset") == at)
    assert FindingKind.MISSING in findings(stored, WIRES)


@pytest.mark.parametrize("at", [0, 2])
def test_a_record_that_is_in_both_tables_is_found(at: int) -> None:
    stored, others = lake(WIRES, set()), lake(WIRES, {at})
    stored[1] = others[1]
    assert findings(stored, WIRES) == {FindingKind.SURPLUS}


@pytest.mark.parametrize("old", [set(), set(range(6))], ids=["now", "earlier"])
def test_a_changed_value_is_found(old: set[int]) -> None:
    stored = lake(WIRES, old)
    changed = pl.when(pl.col("_offset") == 1).then(7).otherwise("floor").alias("floor")
    stored[0].frame = stored[0].frame.with_columns(changed)
    assert findings(stored, WIRES) == {FindingKind.DIFFERENT}
