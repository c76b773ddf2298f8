"""Slices of frames: all rows, in order, bounded in bytes."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import slices

_BOUND = 10
_values = st.lists(st.none() | st.binary(max_size=3 * _BOUND), max_size=40)


@pytest.fixture(autouse=True, scope="module")
def _small() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE_BYTES", _BOUND)
        patch.setattr(slices, "_LARGE", 0)
        yield


def _frame(values: list[bytes | None]) -> pl.DataFrame:
    return pl.DataFrame({"n": range(len(values)), "value": pl.Series(values, dtype=pl.Binary)})


@given(_values)
def test_the_slices_are_the_frame(values: list[bytes | None]) -> None:
    frame = _frame(values)
    assert pl.concat(slices.slices(frame, "value")).equals(frame)


@given(_values)
def test_a_slice_exceeds_its_bytes_by_its_first_row_at_most(values: list[bytes | None]) -> None:
    for part in slices.slices(_frame(values), "value"):
        first, *others = [*part["value"].to_list(), b""]
        assert sum(len(value or b"") for value in others) <= _BOUND or not first


def test_a_row_group_has_one_row_at_least() -> None:
    assert slices.rows_of_slice(_frame([b"x" * 1000] * 3)) == 1
    assert slices.rows_of_slice(_frame([])) >= 1


def test_a_slice_of_small_records_may_have_twice_the_bytes() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "_LARGE", 5)
        small, large = _frame([b"x" * 5] * 8), _frame([b"x" * 6] * 8)
        assert [part.height for part in slices.slices(small, "value")] == [3, 4, 1]
        assert [part.height for part in slices.slices(large, "value")] == [1, 2, 1, 2, 2]


def test_large_records_count_several_times_until_they_are_decoded() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "_LARGE", 64 * 1024)
        assert slices.undecoded(100_000, rows=100) == 100_000
        assert slices.undecoded(10_000_000, rows=100) == 20_000_000
        assert slices.undecoded(500_000_000, rows=100) == 1_500_000_000
        assert slices.undecoded(0, rows=0) == 0
