"""A batch of large records is decoded in slices: the same batch as decoded whole."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from core import slices
from core.batch import (
    HEADERS,
    HEADERS_DTYPE,
    KAFKA,
    VALUE,
    Batch,
    Partition,
    Position,
    Records,
    Span,
)
from transforms import geo
from transforms.process import processor

_GOOD = st.builds(
    lambda number, country: json.dumps({"ind": number, "country": country}).encode(),
    st.integers(1, 99),
    st.text(max_size=100),
)
_BAD = st.sampled_from([b"", b"{", b"[1]", b'{"ind": null, "country": "Mali"}', b"\xff" * 90])
_VALUES = st.lists(_GOOD | _BAD | st.none(), max_size=30)


def _fragile(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Fail on records whose number ends with 7."""
    number = pl.col("ind").map_batches(_refuse, pl.Int64)
    return geo.clean(rows.with_columns(number))


def _refuse(numbers: pl.Series) -> pl.Series:
    if (numbers % 10 == 7).any():
        raise ValueError("a seven")
    return numbers


def _records(values: list[bytes | None]) -> Records:
    columns = {
        "_topic": ["demo.geo"] * len(values),
        "_partition": [0] * len(values),
        "_offset": range(len(values)),
        "_key": ["1"] * len(values),
        "_timestamp": [datetime(2024, 1, 1, tzinfo=UTC)] * len(values),
        VALUE: values,
        HEADERS: [[]] * len(values),
    }
    schema = {**KAFKA.metadata, VALUE: pl.Binary(), HEADERS: HEADERS_DTYPE}
    spans = {Partition("demo.geo", "0"): Span(None, Position(len(values)), len(values))}
    return Records(pl.DataFrame(columns, schema=schema), spans, KAFKA)


def _processed(values: list[bytes | None], *, tombstones: bool) -> Batch:
    process = processor(
        geo.SCHEMA, _fragile, KAFKA, keep_values=True, drop_tombstones=not tombstones
    )
    return process(_records(values))


@given(_VALUES, st.booleans())
def test_slices_make_the_same_batch(values: list[bytes | None], tombstones: bool) -> None:  # noqa: FBT001
    whole = _processed(values, tombstones=tombstones)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE_BYTES", 100)
        sliced = _processed(values, tombstones=tombstones)
    for name in ("raw", "clean", "rejected"):
        assert_frame_equal(getattr(sliced, name), getattr(whole, name))
    assert (sliced.spans, sliced.counts) == (whole.spans, whole.counts)
