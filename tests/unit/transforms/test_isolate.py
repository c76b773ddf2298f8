"""A record that a transform fails on is quarantined, alone and in every division of the records."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import log2
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batch import HEADERS, HEADERS_DTYPE, KAFKA, Batch, Partition, Position, Records, Span
from core.errors import ConfigError, TooManyRejects
from tests.support.examples import examples
from transforms.isolate import MostRejects
from transforms.process import Transform, processor, try_out
from transforms.schema import Schema

BOARDS = Schema("board", "ind", {"ind": pl.Int64(), "size": pl.String()})
HALF = MostRejects(0.5, 100)


def sizes(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Cast strictly, and drop what is negative."""
    return rows.with_columns(pl.col("size").cast(pl.Int64)).filter(pl.col("size") >= 0)


def records(values: Sequence[bytes], first: int = 0) -> Records:
    columns = {
        "_topic": ["boards"] * len(values),
        "_partition": [0] * len(values),
        "_offset": range(first, first + len(values)),
        "_key": [None] * len(values),
        "_timestamp": [datetime(2024, 1, 1, tzinfo=UTC)] * len(values),
        "_value": values,
        HEADERS: [[]] * len(values),
    }
    schema = {**KAFKA.metadata, "_value": pl.Binary(), HEADERS: HEADERS_DTYPE}
    end = Position(first + len(values))
    spans = {Partition("boards", "0"): Span(Position(first), end, len(values))}
    return Records(pl.DataFrame(columns, schema=schema), spans, KAFKA)


def board(ind: int, size: object) -> bytes:
    return json.dumps({"ind": ind, "size": size}).encode()


def processed(
    values: Sequence[bytes],
    transform: Transform = sizes,
    limit: MostRejects | None = None,
    first: int = 0,
) -> Batch:
    process = processor(BOARDS, transform, KAFKA, keep_values=False, limit=limit)
    return process(records(values, first))


class Counted:
    """A transform that counts its calls: an object, not a function."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        self.calls += 1
        return sizes(rows)


def test_a_record_that_the_transform_fails_on_is_quarantined_and_the_others_are_rows() -> None:
    batch = processed([board(1, "5"), board(2, "x"), b"{", board(3, "7")])
    assert batch.clean["ind"].to_list() == [1, 3]
    assert batch.rejected["_offset"].to_list() == [1, 2]
    assert batch.rejected["reason"].to_list() == ["transform_failed", "not_json"]
    assert batch.rejected["_value"][0] == board(2, "x")
    assert batch.rejected["detail"][0].startswith("InvalidOperationError: conversion from `str`")
    assert batch.rejected.schema == processed([board(1, "5")]).rejected.schema


@given(
    st.lists(st.sampled_from(["1", "2", "-3", "x", "", None, "{"]), max_size=24),
    st.sets(st.integers(0, 24)),
)
@settings(max_examples=examples(60), deadline=None)
def test_the_outcome_of_a_record_is_the_same_in_every_division(
    wires: list[str | None], cuts: set[int]
) -> None:
    """As after a crash, in a replay, and when `verify` reads the source again."""
    values = [b"{" if wire == "{" else board(7, wire or "0") for wire in wires]
    whole = processed(values)
    ends = [*sorted(cut for cut in cuts if cut < len(values)), len(values)]
    starts = [0, *ends[:-1]]
    parts = [processed(values[a:b], first=a) for a, b in zip(starts, ends, strict=True)]
    assert pl.concat([part.clean for part in parts]).equals(whole.clean)
    assert pl.concat([part.rejected for part in parts]).equals(whole.rejected)
    bad = {i for i, wire in enumerate(wires) if wire in ("x", "{")}
    assert set(whole.rejected["_offset"]) == bad


@pytest.mark.parametrize("bad", [1, 3, 20])
def test_few_failures_are_found_with_few_calls(bad: int) -> None:
    n, transform = 1024, Counted()
    values = [board(i, "x" if i % (n // bad) == 5 else "1") for i in range(n)]
    batch = processed(values, transform)
    found = batch.rejected.height
    assert found in {bad, bad + 1}
    assert batch.clean.height == n - found
    assert transform.calls <= 2 * found * log2(n) + 3


def test_a_batch_that_fails_in_every_record_takes_two_calls_for_each_at_most() -> None:
    transform = Counted()
    assert processed([board(i, "x") for i in range(300)], transform).rejected.height == 300
    assert transform.calls <= 2 * 300 + 3


def test_a_batch_beyond_the_limit_is_given_up_at_the_limit() -> None:
    transform = Counted()
    with pytest.raises(TooManyRejects, match="Counted failed on 51 of the first 51 of 999"):
        processed([board(i, "x") for i in range(999)], transform, HALF)
    assert transform.calls <= 2 * 51 + log2(999) + 3


def test_failures_within_the_limit_stop_nothing() -> None:
    values = [board(i, "x" if i % 2 else "1") for i in range(200)]
    assert processed(values, limit=HALF).rejected.height == 100


def failing(error: Callable[[], BaseException], *, without_rows: bool = False) -> Transform:
    """Return a transform that raises the error, always or when there are rows."""

    def fail(rows: pl.LazyFrame) -> pl.LazyFrame:
        if without_rows or rows.collect().height:
            raise error()
        return rows

    return fail


def test_a_transform_that_fails_without_rows_is_named_with_its_words() -> None:
    with pytest.raises(ConfigError, match="KeyError: 'no such city'") as raised:
        processed([], failing(lambda: KeyError("no such city"), without_rows=True))
    assert "failing.<locals>.fail" in raised.value.message


def test_a_transform_that_begins_to_fail_without_rows_quarantines_nothing() -> None:
    found = ["table"]

    def look_up(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.with_columns(pl.lit(found[0]).alias("from"))

    process = processor(BOARDS, look_up, KAFKA, keep_values=False)
    found.clear()
    with pytest.raises(ConfigError, match="look_up cannot be run: IndexError"):
        process(records([board(1, "1")]))


@pytest.mark.parametrize(
    "error", [MemoryError, lambda: OSError(5, "gone"), ImportError, lambda: SystemExit(3)]
)
def test_a_fault_that_no_record_causes_stops_the_pipeline(error: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be run"):
        processed([board(1, "1")], failing(error))


@pytest.mark.parametrize(
    "error", [lambda: pl.exceptions.PanicException("boom"), ZeroDivisionError, RecursionError]
)
def test_any_other_exception_is_a_fault_of_the_record(error: Any) -> None:
    [detail] = processed([board(1, "1")], failing(error)).rejected["detail"]
    assert detail.startswith(type(error()).__name__)


def test_a_request_to_stop_is_no_fault() -> None:
    with pytest.raises(KeyboardInterrupt):
        processed([board(1, "1")], failing(KeyboardInterrupt))


def test_the_words_of_an_exception_are_one_short_line() -> None:
    transform = failing(lambda: ValueError("a\nb \ud800" + "x" * 300))
    [detail] = processed([board(1, "1")], transform).rejected["detail"]
    assert detail.startswith("ValueError: a b \\ud800xx")
    assert len(detail) == 200


def test_a_transform_whose_columns_depend_on_the_records_is_refused() -> None:
    def guess(rows: pl.LazyFrame) -> pl.LazyFrame:
        frame = rows.collect()
        return frame.lazy().with_columns(pl.lit(1 if frame.height else "none").alias("size"))

    with pytest.raises(ConfigError, match="size is Int32, not String"):
        processed([board(1, "1")], guess)


def test_a_transform_that_returns_no_lazy_frame_is_refused() -> None:
    with pytest.raises(ConfigError, match="it returns DataFrame, not LazyFrame"):
        processed([], lambda rows: rows.collect())  # type: ignore[arg-type, return-value]


def test_the_columns_of_the_table_are_known_without_records() -> None:
    found = try_out(BOARDS, sizes, KAFKA)
    assert found == processed([board(1, "1")]).clean.schema
    assert list(found)[:2] == ["ind", "size"]
